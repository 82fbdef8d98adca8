"""Layer swap in the real engine on the CPU: what fits into the same near memory, what moves, what waits.

A toy model with random weights, greedy, float32; rows that share prefixes, prompts in chunks. Near memory is
the same for everyone and small, so that rows wait for one another. Each by

    stock              vLLM as it is
    all blocks         twice the blocks over the machine's own memory; all may be used at once
    adapts             the same with the admission cap
    adapts, <link>     over a link that is emulated
    adapts, drops      over a link that is C2C-like for the first half of its bytes, PCIe-like from then on

A link is C2C-like where bringing as much as near memory holds takes as long as one pass of stock, as on a
GH200 whose weights are eight times its KV memory, and PCIe-like where it takes 21 passes, as for a 70B model
with 20 GB of KV on an H200. Seconds are of this machine; a stall is a layer that waited for a copy. `settled`
is the share of stalls in the last third of the windows, when the cap has found its place.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

LAYERS, BENCHMARK_LAYERS, BENCHMARK_HIDDEN = 12, 24, 256
NEAR_BLOCKS, ROWS, ANSWER_TOKENS = 32, 64, 32
PASSES_TO_BRING_ALL = {"C2C-like": 1.0, "PCIe-like": 21.0}
VOCABULARY = 512
BLOCK_TOKENS = 32
# Keys and values of a block in one layer: two heads of 32 floats.
PAGE_BYTES = 2 * 2 * 32 * 4 * BLOCK_TOKENS


def make_model(folder: Path, layers: int = LAYERS, hidden_size: int = 64) -> Path:
    """Writes the model, its weights drawn from a fixed seed."""
    import torch
    import transformers

    path = folder / f"swap-toy-{layers}"
    if not (path / "config.json").exists():
        torch.manual_seed(0)
        config = transformers.Qwen3Config(
            vocab_size=VOCABULARY, hidden_size=hidden_size, intermediate_size=2 * hidden_size,
            num_hidden_layers=layers, num_attention_heads=4, num_key_value_heads=2, head_dim=32,
            max_position_embeddings=2048, bos_token_id=1, eos_token_id=2, pad_token_id=0,
            tie_word_embeddings=True,
        )  # fmt: skip
        transformers.AutoModelForCausalLM.from_config(config).to(torch.float32).save_pretrained(path)
    return path


def rows_of(folder: Path, seed: int) -> list[dict[str, Any]]:
    """Everyone's run."""
    model = make_model(folder, BENCHMARK_LAYERS, BENCHMARK_HIDDEN)
    near_bytes = BENCHMARK_LAYERS * NEAR_BLOCKS * PAGE_BYTES
    stock = _ran("stock", model, near_bytes, seed)
    pass_s = stock["wall s"] / stock["steps"]
    links = {name: near_bytes / (passes * pass_s) for name, passes in PASSES_TO_BRING_ALL.items()}
    rows = [stock, _ran("all blocks", model, near_bytes, seed, expansion=2.0, adapts=False)]
    rows.append(_ran("adapts", model, near_bytes, seed, expansion=2.0))
    for name, speed in links.items():
        link = {"bytes_per_s": speed, "latency_s": 1e-5}
        rows.append(_ran(f"adapts, {name}", model, near_bytes, seed, expansion=2.0, link=link))
    drops = {
        "bytes_per_s": links["C2C-like"], "latency_s": 1e-5,
        "drop_after_bytes": int(rows[-2]["loaded MB"] * 1e6 / 2), "dropped_bytes_per_s": links["PCIe-like"],
    }  # fmt: skip
    rows.append(_ran("adapts, drops", model, near_bytes, seed, expansion=2.0, link=drops))
    return rows


def _ran(who: str, model: Path, near_bytes: int, seed: int, **settings: Any) -> dict[str, Any]:
    with engine(model, near_bytes, **settings) as one:
        # What is compiled or allocated at first use is nobody's.
        one.run(prompts(2, seed + 1), 2)
        row = {"who": who, **one.run(prompts(ROWS, seed), ANSWER_TOKENS)}
        row.pop("answers")
        caps = row.pop("caps")
        if caps:
            row["cap at the end"] = caps[-1]
            row["resident"] = one.scheduler.connector.pages.resident_blocks
    print(row, flush=True)
    return row


def gates_of(rows: list[dict[str, Any]]) -> dict[str, tuple[float, float, bool]]:
    """Value, target, and whether more is better."""
    by = {row["who"]: row for row in rows}
    stock, every = by["stock"], by["all blocks"]
    different = sum(row["md5"] != stock["md5"] for row in rows)
    slow = [by["adapts, PCIe-like"], by["adapts, drops"]]
    return {
        "layers: runs whose answers differ from stock's": (different, 0, False),
        "layers: usable blocks / stock's": (every["blocks"] / stock["blocks"], 2.0, True),
        "layers: peak running rows / stock's": (every["peak running"] / stock["peak running"], 2.0, True),
        "layers: settled stall share, C2C-like": (by["adapts, C2C-like"]["settled"], 0.02, False),
        "layers: settled stall share, slow links": (max(row["settled"] for row in slow), 0.02, False),
        "layers: steps / stock's, PCIe-like": (slow[0]["steps"] / stock["steps"], 1.02, False),
    }


def prompts(count: int, seed: int, own_tokens: tuple[int, int] = (20, 80)) -> list[list[int]]:
    """Rows of three prefixes of 64 tokens, in random order."""
    rng = random.Random(seed)
    words = range(10, VOCABULARY)
    prefixes = [rng.choices(words, k=64) for _ in range(3)]
    return [rng.choice(prefixes) + rng.choices(words, k=rng.randint(*own_tokens)) for _ in range(count)]


class Engine:
    """vLLM in this process.

    Args:
        model: of `make_model`.
        near_bytes: of the KV cache.
        expansion: blocks over those that would fit; None: stock.
        link: arguments of `EmulatedLink`.
        adapts: whether rows that come in wait where copies are waited for.
        more: arguments of `vllm.LLM`.
    """

    def __init__(
        self, model: Path, near_bytes: int, expansion: float | None = None,
        link: dict[str, Any] | None = None, adapts: bool = True, **more: Any,
    ) -> None:  # fmt: skip
        from vllm import LLM

        if expansion is not None:
            from spark_llm.engine.swap_layers_args import layers_args
            from spark_llm.engine.vllm_args import SCHEDULER

            swap = {
                "mode": "layers",
                "expansion": expansion,
                "host_bytes": 1 << 30,
                "link": link,
                "adapts": adapts,
            }
            ours = {key.replace("-", "_"): value for key, value in layers_args(swap, "cpu").items()}
            ours["additional_config"]["spark_llm"] |= more.pop("additional_config", {}).get("spark_llm", {})
            more |= ours | {"scheduler_cls": SCHEDULER}
        self._llm = LLM(
            str(model), skip_tokenizer_init=True, dtype="float32", enforce_eager=True,
            block_size=BLOCK_TOKENS, kv_cache_memory_bytes=near_bytes, disable_log_stats=False,
            **{"max_model_len": 256, "max_num_seqs": 64, "max_num_batched_tokens": 256} | more,
        )  # fmt: skip
        self.scheduler = self._llm.llm_engine.engine_core.engine_core.scheduler
        self._schedule, self.scheduler.schedule = self.scheduler.schedule, self._scheduled
        self.blocks = self.scheduler.kv_cache_config.num_blocks

    def run(self, rows: Sequence[Sequence[int]], answer_tokens: int) -> dict[str, Any]:
        """Asks all rows at once."""
        from vllm import SamplingParams

        self._peak = self._steps = self._preempted = 0
        self._caps: list[int] = []
        self._shares: list[float] = []
        before = self._figures()
        sampling = SamplingParams(
            temperature=0.0, max_tokens=answer_tokens, ignore_eos=True, detokenize=False
        )
        start_s = time.perf_counter()
        outputs = self._llm.generate(
            [{"prompt_token_ids": list(row)} for row in rows], sampling, use_tqdm=False
        )
        wall_s = time.perf_counter() - start_s
        now = self._figures()
        late = self._shares[-(len(self._shares) // 3) :] or [0.0]
        answers = [list(output.outputs[0].token_ids) for output in outputs]
        return {
            "blocks": self.blocks,
            "peak running": self._peak,
            "steps": self._steps,
            "preemptions": self._preempted,
            "hit tokens": sum(output.num_cached_tokens or 0 for output in outputs),
            "wall s": round(wall_s, 3),
            "md5": hashlib.md5(str(answers).encode(), usedforsecurity=False).hexdigest()[:12],
            "answers": answers,
            "caps": self._caps,
            "settled": round(sum(late) / len(late), 4),
            **{name: round(now[name] - before[name], 4) for name in now},
        }

    def _figures(self) -> dict[str, float]:
        connector = self.scheduler.connector
        if connector is None:
            return {}
        figures = connector.figures
        return {
            "forward s": figures.forward_s, "stall s": figures.copies.stall_s,
            "load s": figures.copies.load_s, "store s": figures.copies.store_s,
            "loaded MB": figures.copies.loaded_bytes / 1e6, "stored MB": figures.copies.stored_bytes / 1e6,
            "moving steps": figures.steps,
        }  # fmt: skip

    def _scheduled(self, *args: Any) -> Any:
        output = self._schedule(*args)
        if output.total_num_scheduled_tokens:
            self._steps += 1
            self._peak = max(self._peak, len(self.scheduler.running))
            self._preempted += len(output.preempted_req_ids or ())
            windows = getattr(self.scheduler, "swap_windows", None)
            if windows is not None:
                self._caps.append(windows.cap.blocks)
                self._shares.append(windows.stall_share)
        return output

    def close(self) -> None:
        """Ends the engine and forgets vLLM's global state, so that another may begin in this process."""
        from vllm.distributed import cleanup_dist_env_and_memory

        self._llm.llm_engine.engine_core.shutdown()
        del self._llm, self.scheduler, self._schedule
        gc.collect()
        cleanup_dist_env_and_memory()


@contextlib.contextmanager
def engine(*args: Any, **kwargs: Any) -> Iterator[Engine]:
    """An engine in this process, gone when it is left."""
    one = Engine(*args, **kwargs)
    try:
        yield one
    finally:
        one.close()
