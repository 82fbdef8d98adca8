"""A toy model as vLLM runs it and with layers that swap, in one process: writes what they did as JSON.

Near memory is so small that rows are preempted, with swap as well; prompts come in chunks; rows share prefixes
and are asked twice, the second time with what the first left in the cache.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import harness
import pie_layers_rows as rows_of

from spark_llm.engine.vllm_args import LOOK_UP_PROPOSER

NEAR_BYTES = rows_of.LAYERS * 18 * rows_of.PAGE_BYTES
ROWS, ANSWER_TOKENS = 20, 20
# Drops mid-run to a fifth.
SLOW = {"bytes_per_s": 2e8, "latency_s": 1e-4, "drop_after_bytes": 20_000_000, "dropped_bytes_per_s": 4e7}
SPECULATIVE = {
    "speculative_config": {
        "method": "custom_class", "model": LOOK_UP_PROPOSER, "num_speculative_tokens": 3,
    },
    "additional_config": {"spark_llm": {"speculative": {"policy": "fixed", "pretend": "h100-8b"}}},
}  # fmt: skip


def ran(model, **settings):
    """Two passes of one engine."""
    with rows_of.engine(model, NEAR_BYTES, max_num_batched_tokens=96, **settings) as one:
        passes = [one.run(rows_of.prompts(ROWS, seed=5), ANSWER_TOKENS) for _ in range(2)]
        windows = getattr(one.scheduler, "swap_windows", None)
        return {
            "passes": passes,
            "free": one.scheduler.kv_cache_manager.block_pool.get_num_free_blocks(),
            "speculates": getattr(one.scheduler, "speculation", None) is not None,
            "figures": one.scheduler.swap_figures if windows else {},
            "resident": one.scheduler.connector.pages.resident_blocks if windows else 0,
        }


def main(folder, file):
    """All of them."""
    model = rows_of.make_model(folder)
    found = {
        "stock": ran(model),
        "swap, speculation": ran(model, expansion=2.0, **SPECULATIVE),
        "swap, a link that drops": ran(model, expansion=2.0, link=SLOW),
    }
    Path(file).write_text(json.dumps(found))


if __name__ == "__main__":
    harness.vllm_alone(plugins="", log_level="CRITICAL")
    main(Path(sys.argv[1]), sys.argv[2])
