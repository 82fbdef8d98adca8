"""Do requests that an engine computes together find each other's prefix, and which order do they need?

Part one asks vLLM itself (offline `LLM`, demo model, cold cache): families of prompts with a common prefix
are handed over all at once. `found` is the share of the blocks that siblings could have found and did. Steps
of the scheduler are small or large against the prefix, and a long-prefill threshold is the case in which vLLM
admits siblings while their leader is still half computed. `leader first` is the bound: the first of a family
is answered before the others are sent.

Part two sends a table of the demo's shop through the Python worker to the executor's own engine, once in
each mode of spark.llm.inFlight and once in the order of the table, and counts cached prompt tokens; then four
tasks share an engine with little memory, with and without priorities. Part three asks the fake engine, whose
blocks can be used only after some further requests (its lag).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import harness

DEMO_MODEL = harness.ROOT / "spark_llm" / "demo" / "model"
BLOCK_TOKENS = 32
# name, prefix tokens, tokens per step, long-prefill threshold (0: none)
CASES = (
    ("one step holds a family", 320, 4096, 0),
    ("one step holds half a prefix", 320, 160, 0),
    ("prefix of several steps", 1600, 512, 0),
    ("prefix cut by a long-prefill threshold", 1024, 4096, 256),
)
FAMILIES, SIBLINGS, TAIL_TOKENS = 4, 12, 40


def main() -> None:
    """Measures and reports; exits 0 whatever the gates say."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument(
        "--model", type=Path, default=DEMO_MODEL, help="model folder (default: the demo model)"
    )
    parser.add_argument("--rows", type=int, default=1200, help="rows of parts two and three (default 1200)")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--data", type=Path, help="not used: the prompts are generated")
    parser.add_argument("--no-worker", action="store_true", help="part one only")
    parser.add_argument("--offline-worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.offline_worker:
        offline_worker(options.offline_worker)
        return
    rows: list[dict[str, Any]] = []
    gates: dict[str, dict[str, Any]] = {}
    for case in CASES:
        at_once, first = offline(options.model, case, options.seed)
        rows += [at_once, first]
    plain = [row["found"] for row, case in zip(rows[::2], CASES, strict=True) if not case[3]]
    gates["vllm_shares_in_flight"] = harness.gate(min(plain), 0.99)
    if not options.no_worker:
        import in_flight_modes

        found, more = in_flight_modes.measure(options.model, options.rows, options.seed)
        rows += found
        gates |= more
    harness.report(rows, gates, options.json)


def offline(model: Path, case: tuple[str, int, int, int], seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Runs one case in a process of its own; returns the rows of both ways to send it."""
    with tempfile.TemporaryDirectory() as folder:
        order = Path(folder) / "order.json"
        order.write_text(json.dumps({"model": str(model), "case": case, "seed": seed}))
        environ = {
            **os.environ,
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "HF_HUB_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "OMP_NUM_THREADS": str(os.cpu_count()),
            "VLLM_LOGGING_LEVEL": "ERROR",
        }
        command = [sys.executable, __file__, "--offline-worker", str(order)]
        subprocess.run(command, env=environ, check=True, stdout=subprocess.DEVNULL)
        at_once, first = json.loads(order.read_text())
        return at_once, first


def families(prefix_tokens: int, seed: int, vocabulary: int) -> list[list[list[int]]]:
    """Prompts as token ids, shape (FAMILIES, SIBLINGS, prefix + tail): siblings differ after the prefix."""
    import numpy as np

    random = np.random.default_rng(seed)

    def tokens(count: int) -> list[int]:
        return [int(one) for one in random.integers(100, vocabulary - 100, count)]

    prefixes = [tokens(prefix_tokens) for _ in range(FAMILIES)]
    return [[prefix + tokens(TAIL_TOKENS) for _ in range(SIBLINGS)] for prefix in prefixes]


def offline_worker(order: Path) -> None:
    """The child of `offline`: answers in the same file."""
    from vllm import LLM, SamplingParams

    task = json.loads(order.read_text())
    name, prefix_tokens, step_tokens, threshold = task["case"]
    llm = LLM(
        task["model"], max_model_len=4096, block_size=BLOCK_TOKENS, enforce_eager=True,
        enable_prefix_caching=True, kv_cache_memory_bytes=1 << 30, max_num_seqs=min(256, step_tokens),
        max_num_batched_tokens=step_tokens, long_prefill_token_threshold=threshold,
        scheduling_policy="priority",
    )  # fmt: skip
    groups = families(prefix_tokens, task["seed"], len(llm.get_tokenizer()))
    sampling = SamplingParams(temperature=0, max_tokens=2)
    # What a sibling can find: the prefix's whole blocks. The first of a family can find nothing.
    possible = FAMILIES * (SIBLINGS - 1) * (prefix_tokens // BLOCK_TOKENS) * BLOCK_TOKENS

    def cached(prompts: list[list[int]]) -> int:
        asked = [{"prompt_token_ids": prompt} for prompt in prompts]
        answers = llm.generate(asked, sampling, use_tqdm=False)  # type: ignore[arg-type]
        return sum(answer.num_cached_tokens or 0 for answer in answers)

    at_once = cached([prompt for group in groups for prompt in group])
    llm.reset_prefix_cache()
    cached([group[0] for group in groups])
    first = cached([prompt for group in groups for prompt in group[1:]])
    shape = {
        "engine": "vLLM offline", "case": name, "prefix_tokens": prefix_tokens, "step_tokens": step_tokens,
        "threshold_tokens": threshold, "requests": FAMILIES * SIBLINGS,
    }  # fmt: skip
    order.write_text(
        json.dumps(
            [
                {**shape, "sent": "all at once", "cached_tokens": at_once, "found": at_once / possible},
                {**shape, "sent": "leader first", "cached_tokens": first, "found": first / possible},
            ]
        )
    )


if __name__ == "__main__":
    main()
