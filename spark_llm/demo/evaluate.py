"""Held-out accuracy of the demo model, as vLLM serves it.

``python -m spark_llm.demo.evaluate --rows 400 --seed 1 --json FILE`` asks every task's
held-out questions through vLLM's offline ``LLM.chat``, greedily, and prints a table.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from spark_llm.demo.generate import SYSTEM_PROMPT, held_out
from spark_llm.demo.score import Ask, Line, measure, table


@dataclass(frozen=True)
class Settings:
    """What to evaluate.

    Attributes:
        model: Folder of the model.
        rows: Held-out examples per task.
        seed: Seed of the held-out examples.
        threads: OpenMP threads of the engine.
        dtype: Number format of the engine's weights.
    """

    model: Path
    rows: int
    seed: int
    threads: int
    dtype: str


def open_engine(settings: Settings) -> Ask:
    """Start vLLM on the CPU in this process and return the function that asks it."""
    # Read by vLLM at import: one process, no hub, and threads bound by ourselves.
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["VLLM_NO_USAGE_STATS"] = "1"
    os.environ["VLLM_CPU_CI_ENV"] = "1"
    os.environ["OMP_NUM_THREADS"] = str(settings.threads)
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    from vllm import LLM, SamplingParams

    engine = LLM(
        str(settings.model),
        dtype=settings.dtype,
        enforce_eager=True,
        max_model_len=1024,
        block_size=32,
        max_num_seqs=64,
        kv_cache_memory_bytes=256 << 20,
        enable_prefix_caching=True,
        disable_log_stats=True,
    )
    sampling = SamplingParams(temperature=0.0, max_tokens=96)

    def ask(users: list[str], think: bool) -> list[str]:
        chats = [
            [
                {"role": "system", "content": SYSTEM_PROMPT},
                {"role": "user", "content": user},
            ]
            for user in users
        ]
        outputs = engine.chat(
            chats,
            sampling,
            chat_template_kwargs={"enable_thinking": think},
            use_tqdm=False,
        )
        texts = [output.outputs[0].text for output in outputs]
        # With thinking on, a text that never closes its thinking holds no answer.
        return [text.partition("</think>")[2] for text in texts] if think else texts

    return ask


def evaluate(settings: Settings) -> list[Line]:
    """Measure every task; arithmetic once with thinking and once without."""
    ask = open_engine(settings)
    lines: list[Line] = []
    for task, examples in held_out(settings.seed, settings.rows).items():
        if task == "arithmetic":
            for name, think in (("thinking", True), ("direct", False)):
                line = measure(ask, f"{task}, {name}", examples, think, settings.seed)
                lines.append(line)
        else:
            lines.append(measure(ask, task, examples, False, settings.seed))
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Read the command line, print the table; return 1 where a gate is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path(__file__).parent / "model")
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"))
    parser.add_argument("--json", type=Path, default=None)
    found = parser.parse_args(argv)
    lines = evaluate(Settings(found.model, found.rows, found.seed, found.threads, found.dtype))
    print(table(lines))
    if found.json is not None:
        found.json.write_text(json.dumps(lines, indent=2) + "\n", encoding="utf-8")
    return 1 if any(line["passed"] is False for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
