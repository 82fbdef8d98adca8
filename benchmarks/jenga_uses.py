"""Hit tokens where the KV cache is small: vLLM's least recently used block against remaining uses.

vLLM on the CPU with random models (`jenga_toys`), greedy, in float32. Rows come as tasks send them: each task
keeps so many rows in flight, in its planned order, and tells with each row what the rest of its window shares
(`spark_llm.worker.prefix_uses`, a character per token). Counted, never timed:

    one, planned        a task whose rows stand in the planner's order
    two, planned        two tasks at a time, each in the planner's order
    one, as written     a task whose rows stay in their order: its films come in no order
    two, as written     two such tasks
    beside a scan       one, planned, beside a task whose rows share nothing but their instruction

Model qwen3 has attention only, gemma4 has windows too, lfm2 keeps states (with planned junctions and
without). Answers must be the same, hits may not be fewer.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import harness
import jenga_engine
import jenga_toys

BLOCK_TOKENS = 32
TABLES = ("one, planned", "two, planned", "one, as written", "two, as written", "beside a scan")
# Bytes of KV memory: what a dozen rows fill.
MEMORY = {"qwen3": 12 << 20, "lfm2": 3 << 20, "gemma4": 16 << 20}
WHO: dict[str, dict[str, dict[str, Any]]] = {
    "qwen3": {"stock": {}, "uses": {"allocator": "auto", "uses": True}},
    "lfm2": {
        "stock": {},
        "junctions": {"allocator": "vllm", "junctions": True},
        "uses": {"allocator": "vllm", "junctions": True, "uses": True},
    },
    "gemma4": {
        "stock": {},
        "uses": {"allocator": "vllm", "uses": True},
    },
}
FILMS, ROWS, IN_FLIGHT, ANSWER_TOKENS = 24, 96, 6, 4
Prompt = list[int]


def main() -> None:
    """Measures and reports; exits 0 whatever the gates say."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--models", nargs="+", default=list(WHO))
    options = parser.parse_args()
    jenga_engine.alone()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.models:
            rows += compare(jenga_toys.make(name, Path(folder)), options.seed)
    harness.report(rows, gates_of(rows), options.json)


def compare(model: Path, seed: int) -> list[dict[str, Any]]:
    """All tables by everyone."""
    rows = []
    known: dict[str, Any] = {}
    for who, memory in WHO[model.name].items():
        more = {"additional_config": {"spark_llm": {"memory": memory}}} if memory else {}
        with jenga_engine.engine(
            model,
            memory.get("allocator", "stock"),
            block_tokens=BLOCK_TOKENS,
            memory_bytes=MEMORY[model.name],
            **more,
        ) as one:
            for table in TABLES:
                ran = one.run_tasks(tasks_of(table, seed), IN_FLIGHT, ANSWER_TOKENS)
                answers = ran.pop("answers")
                same = known.setdefault(table, answers)
                row = {"model": model.name, "table": table, "who": who, **ran}
                row["different answers"] = sum(a != b for a, b in zip(answers, same, strict=True))
                rows.append(row)
                print(json.dumps(row), flush=True)
    return rows


def tasks_of(table: str, seed: int) -> list[list[Prompt]]:
    """Prompts of each task, in sending order."""
    rng = random.Random(f"{seed} {table}")

    def some(tokens: int) -> Prompt:
        return [rng.randrange(10, jenga_toys.VOCABULARY) for _ in range(tokens)]

    def task(*, planned: bool, films: int = FILMS) -> list[Prompt]:
        instruction, texts = some(48), [some(128) for _ in range(films)]
        film_of = [rng.randrange(films) for _ in range(ROWS)]
        order = sorted(film_of) if planned else film_of
        return [instruction + texts[film] + some(rng.randint(20, 60)) for film in order]

    planned = table.endswith("planned") or table == "beside a scan"
    tasks = [task(planned=planned) for _ in range(1 if table.startswith("one") else 2)]
    if table == "beside a scan":
        instruction = some(48)
        tasks[1] = [instruction + some(rng.randint(148, 188)) for _ in range(ROWS)]
    return tasks


def told_of(prompts: Sequence[Prompt], plan: str, block_tokens: int) -> list[list[Any]]:
    """What the worker tells of a window, in tokens."""
    from spark_llm.worker.prefix_uses import prefix_uses

    uses = prefix_uses(["".join(map(chr, prompt)) for prompt in prompts], block_tokens)
    return [[plan, *(number for use in row for number in use)] for row in uses]


def gates_of(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What the rows must show."""

    def stock(row: dict[str, Any]) -> dict[str, Any]:
        keys = ("model", "table", "who")
        wanted = (row["model"], row["table"], "stock")
        return next(each for each in rows if tuple(each[key] for key in keys) == wanted)

    ours = [row for row in rows if "uses" in row["who"]]
    hits = [row["hit"] / max(stock(row)["hit"], 1) for row in ours]
    steps = [row["steps"] / stock(row)["steps"] for row in ours if row["model"] != "lfm2"]
    different = sum(row["different answers"] for row in rows)
    return {
        "answers that differ from vLLM's": harness.gate(different, 0, at_least=False),
        "hit tokens / stock's, worst": harness.gate(min(hits), 0.99),
        "steps / stock's, attention only, worst": harness.gate(max(steps, default=1.0), 1.01, at_least=False),
    }


def sent(tasks: Sequence[Sequence[Any]], in_flight: int) -> Any:
    """Rows as tasks send them: yields lists of (task, place) to send; is told how many rows of each ended."""
    left = [deque(range(len(task))) for task in tasks]
    under_way = [0] * len(tasks)
    while any(left) or any(under_way):
        now = []
        # Tasks take turns.
        for _ in range(in_flight):
            for number, places in enumerate(left):
                if places and under_way[number] < in_flight:
                    under_way[number] += 1
                    now.append((number, places.popleft()))
        for number in (yield now):
            under_way[number] -= 1


if __name__ == "__main__":
    main()
