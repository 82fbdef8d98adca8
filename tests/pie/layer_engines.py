"""A toy model as vLLM runs it and with layers that swap, in one process: writes what they did as JSON.

Near memory is so small that rows are preempted, with swap as well; prompts come in chunks; rows share prefixes
and are asked three times, with what was left in the cache. With swap, from the second time on rows speculate, and
as many are let in as the link bears, which is fast at first only.
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
LINK = {"bytes_per_s": 2e8, "latency_s": 1e-4, "drop_after_bytes": 20_000_000, "dropped_bytes_per_s": 4e7}
SPECULATIVE = {
    "speculative_config": {
        "method": "custom_class", "model": LOOK_UP_PROPOSER, "num_speculative_tokens": 3,
    },
    "additional_config": {"spark_llm": {"speculative": {"policy": "fixed", "pretend": "h100-8b"}}},
}  # fmt: skip


def ran(model, **settings):
    """Three passes of one engine."""
    with rows_of.engine(model, NEAR_BYTES, max_num_batched_tokens=96, **settings) as one:
        scheduler = one.scheduler
        speculation, scheduler.speculation = getattr(scheduler, "speculation", None), None
        passes = [one.run(rows_of.prompts(ROWS, seed=5), ANSWER_TOKENS)]
        scheduler.speculation = speculation
        windows = getattr(scheduler, "swap_windows", None)
        if windows is not None:
            windows.adapts = True
        passes += [one.run(rows_of.prompts(ROWS, seed=5), ANSWER_TOKENS) for _ in range(2)]
        return {
            "passes": passes,
            "emptied": scheduler.reset_prefix_cache(),
            "free": len(scheduler.kv_cache_manager.block_pool.free_block_queue.get_all_free_blocks()),
            "figures": scheduler.swap_figures if windows else {},
            "resident": scheduler.connector.pages.resident_blocks if windows else 0,
        }


def main(folder, file):
    """Both."""
    model = rows_of.make_model(folder)
    found = {"stock": ran(model), "swap": ran(model, expansion=2.0, link=LINK, adapts=False, **SPECULATIVE)}
    Path(file).write_text(json.dumps(found))


if __name__ == "__main__":
    harness.vllm_alone(plugins="", log_level="CRITICAL")
    main(Path(sys.argv[1]), sys.argv[2])
