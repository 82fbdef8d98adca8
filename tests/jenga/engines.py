"""Toy models by vLLM's own allocator and by ours, in one process: writes what they did as JSON.

Memory is so small that rows are preempted; rows share prefixes and have priorities; they are asked twice, the
second time with what the first left in the cache.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import jenga_engine
import jenga_toys
import jenga_uses

from spark_llm.engine.vllm_args import LOOK_UP_PROPOSER

MEMORY_BYTES = {"gemma3": 2 << 20, "gemma4": 5 << 19, "gpt-oss": 5 << 18, "lfm2": 3 << 17}
ROWS, ANSWER_TOKENS = 12, 18


def prompts():
    """Rows of three prefixes, in random order."""
    rng = random.Random(5)
    words = range(10, jenga_toys.VOCABULARY)
    prefixes = [rng.choices(words, k=70) for _ in range(3)]
    return [rng.choice(prefixes) + rng.choices(words, k=rng.randint(3, 60)) for _ in range(ROWS)]


def ran(model, who, **more):
    """Both passes of one engine."""
    with jenga_engine.engine(
        model, who, block_tokens=32, memory_bytes=MEMORY_BYTES[model.name], max_model_len=192, **more
    ) as one:
        priority = [number % 4 for number in range(ROWS)]
        passes = [one.run(prompts(), ANSWER_TOKENS, priority, empty=empty) for empty in (True, False)]
        jenga = getattr(one.scheduler, "jenga", None)
        speculation = getattr(one.scheduler, "speculation", None)
        return {
            "passes": passes,
            "used": [jenga.pages.used_pages(kind) for kind in range(len(jenga.pages.ratios))]
            if jenga
            else [],
            "concurrency": one.scheduler.cache_config.kv_cache_max_concurrency,
            "usage": one.scheduler.kv_cache_manager.usage,
            "speculates": speculation is not None,
        }


def tasks(model, who, in_flight, **memory):
    """Two tasks that share an engine, their rows as written, in so little memory that prefixes are dropped."""
    more = {"additional_config": {"spark_llm": {"memory": memory}}} if memory else {}
    with jenga_engine.engine(
        model, who, block_tokens=32, memory_bytes=jenga_uses.MEMORY[model.name], **more
    ) as one:
        shared = [task[:36] for task in jenga_uses.tasks_of("two, as written", 7)]
        found = one.run_tasks(shared, in_flight, 4)
        uses = getattr(one.scheduler, "uses", None)
        queue = getattr(one.scheduler.kv_cache_manager.block_pool, "free_block_queue", None)
        return found | {
            "known": None if uses is None else len(uses),
            "kept": getattr(queue, "kept_blocks", None),
        }


def junctions(model):
    """Prefixes that three rows share, by vLLM's states and by planned ones under either allocator."""
    planned = {"additional_config": {"spark_llm": {"memory": {"junctions": True}}}}
    found = {}
    for who, more in (("stock", {}), ("vllm", planned), ("jenga", planned)):
        with jenga_engine.engine(
            model, who, block_tokens=32, memory_bytes=3 << 20, max_model_len=256, **more
        ) as one:
            rows = jenga_engine.shared_by(3, 5, 0, seed=5)
            found[who] = one.run(rows, 4, list(range(len(rows))))
    return found


def main(folder, file):
    """All of them."""
    found = {}
    for name in MEMORY_BYTES:
        model = jenga_toys.make(name, folder)
        found[name] = {who: ran(model, who) for who in ("stock", "jenga")}
    speculative = {
        "speculative_config": {
            "method": "custom_class", "model": LOOK_UP_PROPOSER, "num_speculative_tokens": 3,
        },
        "additional_config": {"spark_llm": {"speculative": {"policy": "fixed", "pretend": "h100-8b"}}},
    }  # fmt: skip
    found["gemma4"]["jenga, speculation"] = ran(folder / "gemma4", "jenga", **speculative)
    found["junctions"] = junctions(folder / "lfm2")
    found["tasks"] = {
        name: {
            "stock": tasks(jenga_toys.make(name, folder), "stock", in_flight),
            "uses": tasks(folder / name, who, in_flight, uses=True, junctions=True),
        }
        # Rows of lfm2 are sent one by one: none waits, so only the plan can tell where they branch.
        for name, who, in_flight in (("lfm2", "vllm", 1), ("gemma4", "jenga", 6))
    }
    Path(file).write_text(json.dumps(found))


if __name__ == "__main__":
    jenga_engine.alone()
    main(Path(sys.argv[1]), sys.argv[2])
