"""Does the simulated engine take as long as the real one?

vLLM on this machine answers three workloads with the demo model, taking turns with other ones to which the
cost model is fitted. Then the simulated engine, which has seen none of the three, runs them. Steps and prompt
tokens computed are compared as counts, rows per second as the median of the rounds. Prompts are random token
ids and answers have a given length, so that both sides are asked exactly the same. The engine computes in one
thread, and its seconds are those of its processor time: what else the machine does is not among them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import harness
import numpy as np

from spark_llm.costmodel.measure import fit_steps
from spark_llm.costmodel.presets import H100_8B
from spark_llm.costmodel.simulate.engine import Limits, Simulation
from spark_llm.costmodel.simulate.workload import Workload, grouped
from spark_llm.engine.step_recorder import EngineStep, StepRecorder, context_tokens

DEMO_MODEL = harness.ROOT / "spark_llm" / "demo" / "model"
MAX_MODEL_LEN_TOKENS = 2048
BLOCK_TOKENS = 32
CHUNK_TOKENS = 512
MAX_SEQUENCES = 64
# Ids below are the tokenizer's control tokens.
FIRST_TOKEN, LAST_TOKEN = 100, 2000


@dataclass(frozen=True)
class Task:
    """A workload, how many of its rows are under way at a time, and whether it is compared or fitted to."""

    name: str
    workload: Workload
    concurrency: int
    fitted: bool = False


def tasks(seed: int) -> list[Task]:
    """Three to compare, and others to fit to."""

    def make(name: str, rows: int, concurrency: int, fitted: bool = False, **shape: Any) -> Task:
        return Task(name, grouped(rows, seed + len(name), **shape), concurrency, fitted)

    compared = [
        make("short labels", 300, 64, prefix_tokens=70, own_tokens=60, output_tokens=3),
        make("40-token answers", 64, 16, prefix_tokens=0, own_tokens=150, output_tokens=40),
        make("long shared prompts", 48, 8, groups=6, prefix_tokens=600, own_tokens=50, output_tokens=12),
    ]
    fitted = [
        make(f"fit {prompt}x{concurrency}", rows, concurrency, True,
             prefix_tokens=0, own_tokens=prompt, output_tokens=output)
        for prompt, concurrency, rows, output in ((30, 48, 96, 20), (90, 4, 12, 30), (250, 24, 24, 10),
                                                  (600, 2, 6, 16), (400, 40, 40, 12), (60, 1, 4, 20))
    ]  # fmt: skip
    # One to compare, two to fit to, and so on: what slows the machine down for a while meets both.
    return [task for at in range(3) for task in (fitted[2 * at], compared[at], fitted[2 * at + 1])]


def prompts_of(workload: Workload, seed: int) -> list[list[int]]:
    """Token ids: a row's prefix by its node, then its own."""
    rng = np.random.default_rng(seed)

    def draw(count: int) -> list[int]:
        return rng.integers(FIRST_TOKEN, LAST_TOKEN, count).tolist()

    prefixes = [draw(count) for count in workload.node_tokens.tolist()]
    nodes = workload.nodes.tolist() or [-1] * len(workload.own_tokens)
    return [
        [*(prefixes[node] if node >= 0 else ()), *draw(count)]
        for node, count in zip(nodes, workload.own_tokens.tolist(), strict=True)
    ]


def main() -> None:
    """Measures, fits, simulates and reports; exits 0 whatever the gates say."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument("--rounds", type=int, default=3, help="how often each workload runs (default 3)")
    parser.add_argument(
        "--model", type=Path, default=DEMO_MODEL, help="model folder (default: the demo model)"
    )
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker)
        return
    runs = real(options.model, options.rounds, options.seed)
    todo = tasks(options.seed)
    fit = fit_steps(
        [
            EngineStep(*step)
            for task in todo
            if task.fitted
            for run in runs[task.name]
            for step in run["steps"]
        ],
        H100_8B,
    )
    if fit is None:
        raise SystemExit("the engine took too few steps for a fit")
    rows, gates = [], {"fit R2 held out": harness.gate(fit.r2_held_out, 0.95)}
    for task in (task for task in todo if not task.fitted):
        measured = runs[task.name]
        limits = Limits(task.concurrency, CHUNK_TOKENS, measured[0]["kv_blocks"], BLOCK_TOKENS)
        result = Simulation(task.workload, limits, fit.step_time).run()
        seconds = statistics.median(run["seconds"] for run in measured)
        steps = statistics.median(len(run["steps"]) for run in measured)
        prefill_tokens = statistics.median(
            sum(EngineStep(*step).prefill_tokens for step in run["steps"]) for run in measured
        )
        rows.append(
            {
                "workload": task.name,
                "rows": len(task.workload.own_tokens),
                "concurrency": task.concurrency,
                "steps": steps,
                "steps_simulated": result.steps,
                "prefill_tokens": prefill_tokens,
                "prefill_tokens_simulated": result.prefill_tokens,
                "rows_per_s": result.rows / seconds,
                "rows_per_s_simulated": result.rows_per_s,
                "error": result.makespan_s / seconds - 1,
                "rounds_s": " ".join(f"{run['seconds']:.2f}" for run in measured),
                "rounds_wall_s": " ".join(f"{run['wall_s']:.2f}" for run in measured),
            }
        )
        off = (abs(result.steps / steps - 1), abs(result.prefill_tokens / prefill_tokens - 1))
        gates |= {
            f"{task.name}: rows/s off by": harness.gate(abs(rows[-1]["error"]), 0.1, at_least=False),
            f"{task.name}: steps off by": harness.gate(off[0], 0.01, at_least=False),
            f"{task.name}: prefill tokens off by": harness.gate(off[1], 0.01, at_least=False),
        }
    harness.report(rows, gates, options.json)


def real(model: Path, rounds: int, seed: int) -> dict[str, list[dict[str, Any]]]:
    """Runs of each workload, in a process of their own."""
    with tempfile.TemporaryDirectory() as folder:
        order = Path(folder) / "order.json"
        order.write_text(json.dumps({"model": str(model), "rounds": rounds, "seed": seed}))
        environ = {
            **os.environ,
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "HF_HUB_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "OMP_NUM_THREADS": "1",
            "VLLM_LOGGING_LEVEL": "ERROR",
        }
        command = [sys.executable, __file__, "--worker", str(order)]
        subprocess.run(command, env=environ, check=True, stdout=subprocess.DEVNULL)
        return json.loads(order.read_text())


def worker(order: Path) -> None:
    """The child of `real`: answers in the same file."""
    from vllm import LLM

    ordered = json.loads(order.read_text())
    llm = LLM(
        ordered["model"], max_model_len=MAX_MODEL_LEN_TOKENS, block_size=BLOCK_TOKENS, enforce_eager=True,
        enable_prefix_caching=True, kv_cache_memory_bytes=1 << 30, max_num_seqs=MAX_SEQUENCES,
        max_num_batched_tokens=CHUNK_TOKENS, disable_log_stats=False, enable_logging_iteration_details=True,
    )  # fmt: skip
    engine = llm.llm_engine
    recorder = StepRecorder(lambda: context_tokens(engine.output_processor))
    engine.logger_manager.stat_loggers.append(recorder)
    runs: dict[str, list[dict[str, Any]]] = {}
    for number in range(ordered["rounds"] + 1):
        for task in tasks(ordered["seed"]):
            llm.reset_prefix_cache()
            recorder.clear()
            run = answer(engine, recorder, task, prompts_of(task.workload, ordered["seed"] + number))
            run["kv_blocks"] = engine.vllm_config.cache_config.num_gpu_blocks
            # The first round warms up.
            if number:
                runs.setdefault(task.name, []).append(run)
    order.write_text(json.dumps(runs))


def answer(engine: Any, recorder: StepRecorder, task: Task, prompts: list[list[int]]) -> dict[str, Any]:
    """A run with as many rows under way as the task says: its steps, and seconds by both clocks."""
    from vllm import SamplingParams

    outputs = task.workload.output_tokens.tolist()
    sent = 0

    def send() -> None:
        nonlocal sent
        while sent < len(prompts) and engine.get_num_unfinished_requests() < task.concurrency:
            sampling = SamplingParams(temperature=0, max_tokens=outputs[sent], ignore_eos=True)
            engine.add_request(str(sent), {"prompt_token_ids": prompts[sent]}, sampling)
            sent += 1

    send()
    steps: list[EngineStep] = []
    started_s, first_s = time.monotonic(), time.process_time()
    begin_s = first_s
    while engine.has_unfinished_requests():
        engine.step()
        send()
        if recorded := recorder.steps():
            recorder.clear()
            end_s = time.process_time()
            steps.append(recorded[-1]._replace(period_s=end_s - begin_s))
            begin_s = end_s
    return {"steps": steps, "seconds": begin_s - first_s, "wall_s": time.monotonic() - started_s}


if __name__ == "__main__":
    main()
