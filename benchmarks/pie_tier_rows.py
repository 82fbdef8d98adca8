"""The block tier in the real engine on the CPU: what returning prefixes cost, with and without it.

Rows of 12 prefixes of 320 tokens, each row with 24 tokens of its own, in turn: the worst order, as a prefix
has left near memory before its next row comes. All rows are asked twice. Each by

    stock                       vLLM as it is
    memory, file                the tier, with room for all prefixes, in host memory or in a file
    memory, <link>              over a link that is emulated, at a ratio of transfer to compute time
    half, lru
    half, remaining uses        the tier with room for half of the prefixes, by vLLM's eviction and by ours

`computed` counts prompt tokens that went through the model, those of preempted rows again. The ratio of a
link is seconds to bring a token over seconds to compute it: 2.6 µs to 18 µs for an 8B model on an H100 over
PCIe 5, 0.34 µs over NVLink-C2C; here it is applied to what stock was measured to take for a prompt token.
"""

from __future__ import annotations

import hashlib
import random
import time
from pathlib import Path
from typing import Any

import jenga_engine

from spark_llm.conf import parse_conf
from spark_llm.engine.swap_args import swap_of
from spark_llm.engine.vllm_args import SCHEDULER

PREFIXES, ROWS_EACH, PREFIX_TOKENS, OWN_TOKENS, ANSWER_TOKENS = 12, 4, 320, 24, 8
LAYERS, HIDDEN, VOCABULARY, BLOCK_TOKENS = 8, 256, 512, 32
# Keys and values of a token: two heads of 32 floats, in each layer.
TOKEN_BYTES = 2 * 2 * 32 * 4 * LAYERS
NEAR_BLOCKS = 60
ALL_CHUNKS, HALF_CHUNKS = 4096, 72
RATIOS = {"PCIe-like": 2.6 / 18, "C2C-like": 0.34 / 18}


def rows_of(folder: Path, seed: int) -> list[dict[str, Any]]:
    """Both passes of everyone."""
    model, asked = _model(folder), _prompts(seed)
    rows = _passes(model, asked, "stock", folder, None)
    token_s = min(row["s"] / row["computed"] for row in rows)
    links = {
        f"memory, {name}": {
            "latency_s": 1e-5,
            "down_bytes_per_s": TOKEN_BYTES / (ratio * token_s),
            "up_bytes_per_s": TOKEN_BYTES / (ratio * token_s),
        }
        for name, ratio in RATIOS.items()
    }
    rows += _passes(model, asked, "memory", folder, {})
    rows += _passes(model, asked, "file", folder, {"path": str(folder)})
    for who, link in links.items():
        rows += _passes(model, asked, who, folder, {"link": link})
    rows += _passes(model, asked, "half, lru", folder, {"eviction_policy": "lru"}, chunks=HALF_CHUNKS)
    rows += _passes(model, asked, "half, remaining uses", folder, {}, chunks=HALF_CHUNKS)
    return rows


def gates_of(rows: list[dict[str, Any]]) -> dict[str, tuple[float, float, bool]]:
    """Value, target and whether it is a least value, by name."""
    stock = {row["pass"]: row for row in rows if row["who"] == "stock"}
    second = [row for row in rows if row["pass"] == 2 and row["who"] != "stock"]
    whole = [row for row in second if not row["who"].startswith("half")]
    half = {row["who"]: row for row in second if row["who"].startswith("half")}
    return {
        "external hit rate, second pass, worst": (min(row["external rate"] for row in whole), 0.9, True),
        "prompt tokens computed / stock's, second pass, worst": (
            max(row["computed"] / stock[2]["computed"] for row in whole), 0.1, False,
        ),
        "seconds / stock's, second pass, worst": (
            max(row["s"] / stock[2]["s"] for row in whole), 1.02, False,
        ),
        "seconds / stock's, first pass, worst": (
            max(row["s"] / stock[1]["s"] for row in rows if row["pass"] == 1 and row["who"] != "stock"),
            1.02, False,
        ),
        "answers that differ from stock's": (
            float(sum(row["md5"] != stock[1]["md5"] for row in rows)), 0, False,
        ),
        "half the room: hits by remaining uses / by lru, second pass": (
            half["half, remaining uses"]["external"] / max(half["half, lru"]["external"], 1), 1.0, True,
        ),
    }  # fmt: skip


def _passes(
    model: Path,
    asked: list[list[int]],
    who: str,
    folder: Path,
    extra: dict[str, Any] | None,
    chunks: int = ALL_CHUNKS,
) -> list[dict[str, Any]]:
    found = []
    with jenga_engine.engine(
        model, "stock", block_tokens=BLOCK_TOKENS, memory_bytes=NEAR_BLOCKS * BLOCK_TOKENS * TOKEN_BYTES,
        max_model_len=512, max_num_batched_tokens=512, **_settings(folder, extra, chunks),
    ) as one:  # fmt: skip
        scheduled = _Scheduled(one.scheduler)
        for number in (1, 2):
            before, scheduled.tokens, start_s = _figures(one), 0, time.perf_counter()
            ran = one.run(asked, ANSWER_TOKENS, empty=False)
            seconds = time.perf_counter() - start_s
            now = {name: value - before.get(name, 0) for name, value in _figures(one).items()}
            external = int(now.get("external_prefix_cache_hits", 0))
            row = {
                "who": who, "pass": number, "blocks": one.scheduler.kv_cache_config.num_blocks,
                "prompt": sum(map(len, asked)),
                "computed": scheduled.tokens - len(asked) * (ANSWER_TOKENS - 1),
                "local": ran["hit"] - external, "external": external,
                "external rate": round(external / sum(map(len, asked)), 4),
                "loaded MiB": round(now.get("kv_offload_load_bytes", 0) / 2**20, 2),
                "stored MiB": round(now.get("kv_offload_store_bytes", 0) / 2**20, 2),
                "evictions": int(now.get("kv_offload_evictions", 0)),
                "steps": ran["steps"], "s": round(seconds, 3),
                "md5": hashlib.md5(str(ran["answers"]).encode(), usedforsecurity=False).hexdigest()[:12],
            }  # fmt: skip
            if extra and (link := extra.get("link")):
                row["link MB/s"] = round(link["down_bytes_per_s"] / 1e6, 1)
            found.append(row)
            print(row, flush=True)
    return found


def _settings(folder: Path, extra: dict[str, Any] | None, chunks: int) -> dict[str, Any]:
    """Arguments of vLLM as the plug-in makes them, with what only a benchmark sets."""
    if extra is None:
        return {}
    host_bytes = chunks * BLOCK_TOKENS * TOKEN_BYTES
    conf = parse_conf({"spark.llm.swap.enabled": "true", "spark.llm.swap.hostMemory": str(host_bytes)})
    options = {
        key.replace("-", "_"): value
        for key, value in swap_of(conf, str(folder), str(folder / "socket"), "cpu").items()
    }
    options["kv_transfer_config"]["kv_connector_extra_config"] |= extra
    return options | {"scheduler_cls": SCHEDULER}


class _Scheduled:
    """Counts the tokens of a scheduler's steps."""

    def __init__(self, scheduler: Any) -> None:
        self.tokens, self._schedule = 0, scheduler.schedule
        scheduler.schedule = self

    def __call__(self, *args: Any) -> Any:
        output = self._schedule(*args)
        self.tokens += output.total_num_scheduled_tokens
        return output


def _figures(one: Any) -> dict[str, float]:
    metrics = one._llm.get_metrics()
    return {each.name.removeprefix("vllm:"): each.value for each in metrics if hasattr(each, "value")}


def _prompts(seed: int) -> list[list[int]]:
    rng = random.Random(seed)
    words = range(10, VOCABULARY)
    prefixes = [rng.choices(words, k=PREFIX_TOKENS) for _ in range(PREFIXES)]
    return [prefix + rng.choices(words, k=OWN_TOKENS) for _ in range(ROWS_EACH) for prefix in prefixes]


def _model(folder: Path) -> Path:
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.Qwen3Config(
        vocab_size=VOCABULARY, hidden_size=HIDDEN, intermediate_size=4 * HIDDEN, num_hidden_layers=LAYERS,
        num_attention_heads=4, num_key_value_heads=2, head_dim=32, max_position_embeddings=1024,
        bos_token_id=1, eos_token_id=2, pad_token_id=0, tie_word_embeddings=True,
    )  # fmt: skip
    path = folder / "tier-toy"
    transformers.AutoModelForCausalLM.from_config(config).to(torch.float32).save_pretrained(path)
    return path
