"""Jenga without an engine: memory that cannot be used, simulated throughput, prefix hits, cost of a page.

    unusable      requests come and go in a full pool; now and then single blocks (a small page of every type)
                  are taken until one is refused. What is then free is of no use: holes, padding, page 0.
    throughput    workloads of arXiv 2503.18292, as its published commands have them (models, prompts,
                  answers, caps), in a simulated engine, four layouts. Lengths are lognormal around assumed
                  means; PyramidKV and what the paper could not run on an L4 are left out.
    hits          the planner's default order over real tables, replayed under the rules of `replay`
    operations    processor microseconds per page taken or freed, at 10^3 and 10^5 small pages

Baselines of the throughput: `padded single page` is the engine the paper compares with, one page size and one
block table, so that all layers keep all tokens; `typed max page` pads every type's page to the largest;
`vLLM groups` is vLLM 0.32.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import harness
import numpy as np
import pyarrow.parquet as pq
from model_configs import CONFIGS
from scorer import HEAD_TOKENS, ListTokenizer, Scorer, as_text
from solver import table_files

from spark_llm.analyze.blocks import prompt_blocks
from spark_llm.analyze.cache import reused_tokens
from spark_llm.analyze.orders import Requests
from spark_llm.costmodel.presets import H100_8B
from spark_llm.costmodel.step_time import StepTime
from spark_llm.jenga.choose import choose
from spark_llm.jenga.grouped import grouped_layout
from spark_llm.jenga.hf_config import from_config
from spark_llm.jenga.junctions import plan_junctions, prefixes_of
from spark_llm.jenga.memories import CountedBlocks, Memory, PooledPages
from spark_llm.jenga.pages import plan_pages
from spark_llm.jenga.pool import LcmPool, OutOfPagesError
from spark_llm.jenga.replay import replay_belady, replay_learned, replay_planned
from spark_llm.jenga.simulate import Engine, Request
from spark_llm.jenga.specs import KVSpec, LayerType
from spark_llm.jenga.waste import GROUPED, Length

SEED: Final = 55555
BLOCK_TOKENS: Final = 16
SINGLE, TYPED, GROUPS, JENGA = "padded single page", "typed max page", "vLLM groups", "Jenga"
CONTROL: Final = "llama-3.1-8b"
JUNCTIONS, PLANNED = "planned junctions", "planned"
HIT_TARGETS: Final = {"movies": 0.85, "products": 0.75, "squad_rag": 0.31}
MAX_PAGE_US: Final = 5.0


@dataclass(frozen=True, slots=True)
class Card:
    """Accelerators: how much slower than the one the step times were fitted on, and usable memory of each."""

    name: str
    compute: float
    bandwidth: float
    memory_bytes: float


# Dense 16-bit: 989 and 121 Tflop/s; 3.35 and 0.3 TB/s. Memory: 90 % of 80 and 24 GB, less 2 and 1 GB at work.
H100: Final = Card("H100", 1.0, 1.0, 70e9)
L4: Final = Card("L4", 989 / 121, 3.35 / 0.3, 20.6e9)


@dataclass(frozen=True, slots=True)
class Workload:
    """A model with requests.

    Attributes:
        model: name of its config.
        requests: how many.
        prompt: mean tokens of the text.
        cap: longest text.
        answer: tokens to generate.
        active: billions of parameters that compute a token.
        weights_bytes: of all parameters.
        cards: how many, of `card`; the model is spread evenly.
        image: mean image tokens.
        image_cost: share of a text token's computation that an image token takes.
    """

    model: str
    requests: int
    prompt: int
    cap: int
    answer: int
    active: float
    weights_bytes: float
    card: Card = H100
    cards: int = 1
    image: int = 0
    image_cost: float = 0.0
    max_running: int = 256

    @property
    def memory_bytes(self) -> int:
        """For keys, values and states, over all cards."""
        return int(self.cards * self.card.memory_bytes - self.weights_bytes)

    @property
    def step_time(self) -> StepTime:
        """The published fit of an 8B model on one H100, scaled by what each term moves or computes."""
        read = sum(spec.layers * spec.token_bytes for spec in specs_of(self.model))
        memory, compute = self.card.bandwidth / self.cards, self.card.compute / self.cards
        return StepTime(
            kv_s=H100_8B.kv_s * memory * read / READ_BYTES_8B,
            token_s=H100_8B.token_s * compute * self.active / 8,
            sequence_s=H100_8B.sequence_s,
            base_s=H100_8B.base_s * memory * self.weights_bytes / 16e9,
        )

    def draw(self) -> list[Request]:
        """Returns the requests: lengths around their means, lognormal."""
        rng = np.random.default_rng(SEED)
        prompts = self.prompt * rng.lognormal(-(SPREAD**2) / 2, SPREAD, self.requests)
        images = self.image * rng.lognormal(-(IMAGE_SPREAD**2) / 2, IMAGE_SPREAD, self.requests)
        return [
            Request(at, int(np.clip(prompts[at], 16, self.cap)), int(images[at]), self.answer)
            for at in range(self.requests)
        ]


SPREAD, IMAGE_SPREAD = 0.5, 0.2
READ_BYTES_8B: Final = 32 * 4096
# 80 layers, two neighbours share their KV, every sixth pair is global; 16-bit KV beside FP8 weights.
CHARACTER: Final = (
    KVSpec(LayerType.FULL, 7, token_bytes=4096),
    KVSpec(LayerType.SLIDING_WINDOW, 33, token_bytes=4096, window_tokens=1024),
)
VISION: Final = Workload("llama-3.2-11b-vision", 200, 43, 200, 200, 9.8, 21.3e9, image=6193, image_cost=0.09)
GEMMA: Final = Workload("gemma-3-12b", 40, 60_000, 90_000, 150, 12, 24e9)
MINISTRAL: Final = Workload("ministral-8b", 32, 60_000, 80_000, 150, 8, 16e9)
# FP8 weights on one H100 leave 2.5 GB with the published setting of 93.7 % of the memory.
TIGHT: Final = replace(H100, memory_bytes=72.5e9)
PAPER: Final = (
    VISION,
    GEMMA,
    MINISTRAL,
    Workload("llama-4-scout", 160, 92_408, 400_000, 150, 17, 217e9, cards=8),
    Workload("jamba-1.5-mini", 1000, 1300, 8192, 20, 12, 103e9, cards=4, max_running=1024),
    Workload("character-like", 50, 1300, 8192, 256, 70, 70e9, card=TIGHT),
    Workload(CONTROL, 200, 1300, 8192, 256, 8, 16e9),
    replace(VISION, card=L4, weights_bytes=10.7e9),
    replace(GEMMA, model="gemma-3-4b", cap=80_000, card=L4, active=4, weights_bytes=8.6e9),
    Workload(CONTROL, 200, 1300, 8192, 256, 8, 8e9, card=L4),
)
# What SQL asks of the models that vLLM's groups fit worst: short prompts, short answers, many at a time.
SQL_ROWS: Final = (
    Workload("gemma-3-27b", 1000, 400, 4000, 32, 27, 54e9, max_running=1024),
    Workload("qwen3-next-80b", 2000, 400, 4000, 32, 3, 80e9, cards=2, max_running=1024),
    Workload("granite-4-h-tiny", 2000, 400, 4000, 32, 1, 14e9, card=L4, max_running=1024),
)
UNUSABLE: Final = (
    replace(MINISTRAL, requests=400),
    replace(VISION, requests=1500),
    Workload("gemma-3-27b", 400, 30_000, 90_000, 150, 27, 54e9, cards=2),
)
# The same models with the short prompts of SQL rows: no gate, but no secret either.
UNUSABLE_ROWS: Final = tuple(
    replace(of, requests=1500, prompt=400, cap=4000, answer=32, image=0) for of in (*UNUSABLE, SQL_ROWS[1])
)


def specs_of(model: str) -> tuple[KVSpec, ...]:
    return CHARACTER if model == "character-like" else from_config(CONFIGS[model])


def layouts(load: Workload) -> dict[str, tuple[list[tuple[KVSpec, int]], Memory, bool]]:
    """Returns, by name: types with the tokens of a page, the memory, and whether all tokens are kept."""
    specs, memory = specs_of(load.model), load.memory_bytes
    tokens = [spec for spec in specs if spec.token_bytes]
    whole = KVSpec(LayerType.FULL, sum(s.layers for s in tokens), max(s.token_bytes for s in tokens))
    single = grouped_layout([whole, *(spec for spec in specs if spec.state_bytes)], BLOCK_TOKENS)
    plan = plan_pages(specs, block_tokens=BLOCK_TOKENS, memory_bytes=memory)
    widest = max(plan.small_bytes)
    groups = grouped_layout(specs, BLOCK_TOKENS)
    typical = Request(0, load.prompt, load.image, load.answer)
    pages = Engine(
        plan.specs, list(zip(plan.specs, plan.block_tokens, strict=True)), CountedBlocks(1, [1]), H100_8B
    )
    return {
        SINGLE: (
            list(zip(single.specs, single.block_tokens, strict=True)),
            CountedBlocks(memory // single.block_bytes, single.groups),
            True,
        ),
        TYPED: (
            list(zip(plan.specs, plan.block_tokens, strict=True)),
            CountedBlocks(memory // widest, [1] * len(plan.specs)),
            False,
        ),
        GROUPS: (
            list(zip(groups.specs, groups.block_tokens, strict=True)),
            CountedBlocks(memory // groups.block_bytes, groups.groups),
            False,
        ),
        JENGA: (
            list(zip(plan.specs, plan.block_tokens, strict=True)),
            PooledPages(plan, memory, pages.peak(typical)),
            False,
        ),
    }


def throughput() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for load in (*PAPER, *SQL_ROWS):
        base = 0.0
        lengths = [Length(at.prompt_tokens + at.answer_tokens, at.image_tokens) for at in load.draw()]
        auto = (
            GROUPS if choose(specs_of(load.model), lengths, load.memory_bytes).allocator == GROUPED else JENGA
        )
        for name, (paged, memory, keeps_all) in layouts(load).items():
            engine = Engine(
                specs_of(load.model), paged, memory, load.step_time, keeps_all=keeps_all,
                max_running=load.max_running, image_cost=load.image_cost,
            )  # fmt: skip
            run = engine.run(load.draw())
            base = base or run.seconds
            rows.append(
                {"part": "throughput", "model": load.model, "card": f"{load.cards} {load.card.name}",
                 "suite": "paper" if load in PAPER else "SQL rows", "layout": name,
                 "auto": "taken" if name == auto else "", "requests": load.requests,
                 "requests_per_s": load.requests / run.seconds, "gain": base / run.seconds,
                 "mean_running": run.mean_running, "peak_running": run.peak_running, "steps": run.steps,
                 "preemptions": run.preemptions, "taken_share": run.taken_share}
            )  # fmt: skip
    return rows


def unusable() -> list[dict[str, Any]]:
    rows = []
    for what, loads in (("paper", UNUSABLE), ("SQL rows", UNUSABLE_ROWS)):
        for load in loads:
            paged, memory, _ = layouts(load)[JENGA]
            assert isinstance(memory, PooledPages)
            engine = Engine(specs_of(load.model), paged, memory, H100_8B)
            found = churn(engine, memory, load.draw())
            rows.append(
                {"part": "unusable", "model": load.model, "layout": JENGA, "lengths": what,
                 "large_pages": memory.pool.large_pages, "unusable_share": float(np.mean(found)),
                 "unusable_worst": float(np.max(found)), "probes": len(found)}
            )  # fmt: skip
    return rows


def churn(engine: Engine, memory: PooledPages, requests: list[Request]) -> list[float]:
    """Fills the memory, lets a random request go for each that comes, and probes what is left every time."""
    rng = random.Random(SEED)
    live: list[int] = []
    found = []
    for request in requests:
        tokens = request.prompt_tokens + rng.randrange(request.answer_tokens)
        # As after a chunked prefill: the window's last tokens, then some of the answer.
        while not memory.resize(request.number, engine.pages(request, tokens - 1, tokens)):
            memory.release(request.number)
            if not live:
                raise ValueError("a request does not fit alone")
            found.append(probe(memory))
            memory.release(live.pop(rng.randrange(len(live))))
        live.append(request.number)
    return found


def probe(memory: PooledPages) -> float:
    """Returns the share that is left when not even a block of tokens can be had."""
    pool, kinds = memory.pool, len(memory.plan.ratios)
    taken: list[list[int]] = []
    while pool.quotas([1] * kinds) is not None:
        taken.append([pages[0] for pages in pool.allocate_all([1] * kinds, ["probe"] * kinds)])
    share = 1 - memory.taken_share()
    for pages in taken:
        for kind, page in enumerate(pages):
            pool.free(kind, page)
    pool.release("probe")
    return share


def hits(data: Path | None, tokenizer: Any, only: str | None) -> list[dict[str, Any]]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for path in table_files(data, Path(folder)):
            if path.stem in (only.split(",") if only else HIT_TARGETS):
                print(f"jenga: {path.stem}", file=sys.stderr, flush=True)
                rows += table_hits(path, tokenizer)
    return rows


def table_hits(path: Path, tokenizer: Any) -> list[dict[str, Any]]:
    from spark_llm.planner import order_table

    table = pq.read_table(path)
    scorer = Scorer(as_text(path), tokenizer)
    count = None if tokenizer is None else tokenizer.count

    def planned(in_flight: int) -> Requests:
        order = order_table(table, instruction_tokens=HEAD_TOKENS, count_tokens=count, in_flight=in_flight)
        return scorer.planned(order)

    found = []
    for order, requests, in_flight in (
        (PLANNED, planned(0), 0),
        (PLANNED, planned(0), 8),
        ("planned, interleaved", planned(8), 8),
    ):
        found += state_hits(scorer, requests, in_flight, table=path.stem, order=order)
    for order, requests in ((PLANNED, planned(0)), ("as written", scorer.written())):
        found += eviction_hits(scorer, requests, table=path.stem, order=order)
    return found


def state_hits(scorer: Scorer, requests: Requests, in_flight: int, **of: Any) -> list[dict[str, Any]]:
    """Returns a line per rule for recurrent state."""
    fine = prompt_blocks(scorer.cells, requests, BLOCK_TOKENS)
    total = int(fine.prompt_tokens.sum())
    plan = plan_junctions(prefixes_of(fine.keys, fine.offsets, fine.prompt_tokens, BLOCK_TOKENS))
    ours = replay_planned(plan, in_flight)
    runs = {JUNCTIONS: ours}
    for rule, grid in grids():
        blocks = prompt_blocks(scorer.cells, requests, grid)
        runs[rule] = replay_learned(blocks.keys, blocks.offsets, blocks.prompt_tokens, grid, in_flight)
    rows = [
        {"part": "hits", **of, "rule": rule, "in_flight": in_flight, "prompt_tokens": total,
         "hit_share": int(run.hit_tokens.sum()) / total, "states": run.peak_states}
        for rule, run in runs.items()
    ]  # fmt: skip
    rows[0] |= {"junctions": ours.junctions, "second_row_share": ours.second_hits / max(ours.junctions, 1)}
    return rows


def eviction_hits(scorer: Scorer, requests: Requests, **of: Any) -> list[dict[str, Any]]:
    """Returns a line per size and eviction of a cache for plain attention."""
    fine = prompt_blocks(scorer.cells, requests, BLOCK_TOKENS)
    prefixes = prefixes_of(fine.keys, fine.offsets, fine.prompt_tokens, BLOCK_TOKENS)
    return [
        {"part": "hits", **of, "rule": f"attention only, {rule}, {cache:,} tokens", "in_flight": 0,
         "prompt_tokens": int(fine.prompt_tokens.sum()),
         "hit_share": int(found.sum()) / int(fine.prompt_tokens.sum())}
        for cache in (2000, 40_000)
        for rule, found in (
            ("LRU", reused_tokens(fine, cache)),
            ("Belady", replay_belady(prefixes, cache)),
        )
    ]  # fmt: skip


def grids() -> list[tuple[str, int]]:
    """Returns the rules of others, with the grids that a Qwen3-Next-like model gives them."""
    config = CONFIGS["qwen3-next-80b"]
    found = []
    for dtype in ("bfloat16", "float32"):
        block = max(grouped_layout(from_config(config, state_dtype=dtype), BLOCK_TOKENS).block_tokens)
        found.append((f"vLLM-like, {dtype} state, block {block}", block))
    return [*found, ("SGLang-like, grid 64", 64), ("learned, grid 16", 16)]


def operations() -> list[dict[str, Any]]:
    return [
        {"part": "operations", "small_pages": pages, "us_per_page": cost}
        for pages in (10**3, 10**5)
        for cost in (page_cost_us(pages // 4),)
    ]


def page_cost_us(large_pages: int) -> float:
    """Returns microseconds per page operation in a full pool with prefixes in it: best of three rounds."""
    ratios = (4, 4)
    pool = LcmPool(large_pages, ratios)
    rng = random.Random(SEED)
    held: list[tuple[int, int]] = []
    clock, refused, best = 0, 0, float("inf")
    while pool.free_large_pages > large_pages // 50:
        held += [(kind, pool.allocate(kind, clock // 64)) for kind in (0, 1)]
        clock += 1
    for _ in range(3):
        rng.shuffle(held)
        out, held = held[: len(held) // 2], held[len(held) // 2 :]
        begun = time.process_time()
        for kind, page in out:
            clock += 1
            pool.free(kind, page, (clock, -page) if clock % 3 else None)
        for kind, _ in out:
            try:
                held.append((kind, pool.allocate(kind, clock // 64)))
            except OutOfPagesError:
                refused += 1
        best = min(best, (time.process_time() - begun) / (2 * len(out)) * 1e6)
    assert refused < len(held) / 10, "the pool was too full to measure"
    return best


def gates(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    gains: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        if row["part"] == "throughput":
            gain = gains.setdefault((row["model"], row["card"]), {})
            gain[row["layout"]] = row["gain"]
            if row["auto"]:
                gain["auto"] = row["gain"]
    if gains:
        mixed = [
            row["gain"]
            for row in rows
            if row["part"] == "throughput"
            and (row["suite"], row["layout"]) == ("paper", JENGA)
            and row["model"] != CONTROL
        ]
        alike = [gain[JENGA] for (model, _), gain in gains.items() if model == CONTROL]
        found["throughput_over_padded_single_page"] = harness.gate(float(np.mean(mixed)), 1.46)
        found["throughput_homogeneous"] = harness.gate(min(alike), 0.99)
        worst = min(gain["auto"] / gain[GROUPS] for gain in gains.values())
        found["throughput_auto_over_vllm_groups_worst"] = harness.gate(worst, 0.99)
    for row in rows:
        if row["part"] == "unusable" and row["lengths"] == "paper":
            found[f"unusable_{row['model']}"] = harness.gate(row["unusable_share"], 0.005, at_least=False)
        if row["part"] == "hits" and (row["rule"], row["order"], row["in_flight"]) == (JUNCTIONS, PLANNED, 0):
            if row["table"] in HIT_TARGETS:
                found[f"hits_{row['table']}"] = harness.gate(row["hit_share"], HIT_TARGETS[row["table"]])
            found[f"second_row_{row['table']}"] = harness.gate(row["second_row_share"], 1.0)
        if row["part"] == "operations" and row["small_pages"] == 10**5:
            found["page_operation_us"] = harness.gate(row["us_per_page"], MAX_PAGE_US, at_least=False)
    return found


def main() -> None:
    """Measures and reports; exits 0 whatever the gates say."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument(
        "--data", type=Path, help="folder of Parquet tables (default: real ones, else generated)"
    )
    parser.add_argument("--tables", help="only these, separated by commas")
    parser.add_argument("--parts", default="unusable,throughput,hits,operations", help="only these")
    parser.add_argument(
        "--tokenizer", help="PY_FILE:NAME, a file whose load(NAME) has encode() (default: an estimate)"
    )
    options = parser.parse_args()
    tokenizer = ListTokenizer(options.tokenizer) if options.tokenizer else None
    parts = {
        "unusable": unusable,
        "throughput": throughput,
        "hits": lambda: hits(options.data, tokenizer, options.tables),
        "operations": operations,
    }
    rows: list[dict[str, Any]] = []
    for part in options.parts.split(","):
        found = parts[part]()
        rows += found
        harness.report(found, gates(found), None)
        if options.json:
            harness.write(rows, gates(rows), options.json)


if __name__ == "__main__":
    main()
