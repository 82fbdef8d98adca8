"""Do more rows fit into the same bytes of the real engine, and are the answers the same?

vLLM on the CPU with random models (`jenga_toys`), greedy, in float32, prefix caching on. Each by

    stock   vLLM's own groups
    jenga   ours, wherever it can be had
    auto    ours where it predicts a gain of over 5 % (the default)

at two block sizes: 128 tokens, vLLM's own choice on a CPU, and 32, the plug-in's. Two tables of rows: rows
that share nothing, and rows that share one of six prefixes. KV memory is fixed at some rows' worth, so that
rows wait for one another. Counted in steps, never timed:

    peak             most rows that ran at a time
    at once          mean rows per step
    preemptions      rows that lost their pages and were computed again
    hit              prompt tokens that were taken from the cache
    utilisation      bytes that layers still need / bytes taken, mean of the steps; above 1 where rows share

Then lfm2, whose states must be stored to be hit, by stock and with planned junctions: prefixes of 96 tokens
that two, three or six rows share, alone and behind an instruction of 64 tokens that all rows share.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import harness
import jenga_toys

BLOCKS = (128, 32)
WHO = ("stock", "jenga", "auto")
# MiB of KV memory, by model: what about 24 rows fill in vLLM's groups.
MEMORY = {"gemma3": 56, "gemma3-odd": 56, "gemma4": 88, "gpt-oss": 40, "lfm2": 14, "qwen3": 40}
PROMPT_TOKENS = (240, 360)
PREFIX_TOKENS = 200
ANSWER_TOKENS = 32
PREFIXES = 6
TABLES = ("apart", "shared")


def main() -> None:
    """Measures and reports; exits 0 whatever the gates say."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument("--rows", type=int, default=64, help="rows of a table (default 64)")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--models", nargs="+", default=list(MEMORY))
    parser.add_argument("--blocks", type=int, nargs="+", default=list(BLOCKS))
    options = parser.parse_args()
    alone()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.models:
            model = jenga_toys.make(name, Path(folder))
            for block in options.blocks:
                rows += compare(model, block, options.rows, options.seed)
                if options.json:
                    harness.write(rows, {}, options.json)
        rows += junctions(jenga_toys.make("lfm2", Path(folder)), options.seed)
    harness.report(rows, gates_of(rows), options.json)


def alone() -> None:
    """See `harness.vllm_alone`; the allocator's plug-in may load."""
    harness.vllm_alone(plugins="spark_llm_memory", log_level="CRITICAL")


def compare(model: Path, block: int, count: int, seed: int) -> list[dict[str, Any]]:
    """Both tables by everyone."""
    rows: list[dict[str, Any]] = []
    known: dict[str, list[list[int]]] = {}
    for who in WHO:
        with engine(model, who, block_tokens=block, memory_bytes=MEMORY[model.name] << 20) as one:
            for table in TABLES:
                ran = one.run(prompts_of(table, count, seed), ANSWER_TOKENS)
                answers = ran.pop("answers")
                same = known.setdefault(table, answers)
                row = {"model": model.name, "block": block, "table": table, "who": who, **ran}
                row["different answers"] = sum(a != b for a, b in zip(answers, same, strict=True))
                rows.append(row)
                print(json.dumps(row), flush=True)
    return rows


def junctions(model: Path, seed: int) -> list[dict[str, Any]]:
    """Prefixes that few rows share, by vLLM's states and by planned ones."""
    rows: list[dict[str, Any]] = []
    known: dict[str, list[list[int]]] = {}
    for who in ("stock", "junctions"):
        more = {} if who == "stock" else {"additional_config": {"spark_llm": {"memory": {"junctions": True}}}}
        allocator = "stock" if who == "stock" else "auto"
        with engine(model, allocator, block_tokens=32, memory_bytes=8 << 20, **more) as one:
            for sharing in (2, 3, 6):
                for instruction in (0, 64):
                    table = f"{sharing} rows a prefix" + (", instruction" if instruction else "")
                    prompts = shared_by(sharing, 8, instruction, seed)
                    ran = one.run(prompts, 4, list(range(len(prompts))))
                    answers = ran.pop("answers")
                    same = known.setdefault(table, answers)
                    different = sum(a != b for a, b in zip(answers, same, strict=True))
                    row = {"model": model.name, "block": 32, "table": table, "who": who, **ran}
                    rows.append({**row, "different answers": different})
                    print(json.dumps(rows[-1]), flush=True)
    return rows


def shared_by(sharing: int, prefixes: int, instruction_tokens: int, seed: int) -> list[list[int]]:
    """Rows of prefixes of 96 tokens, one after the other, each row with 70 to 150 tokens of its own."""
    rng = random.Random(seed)
    words = range(10, jenga_toys.VOCABULARY)
    instruction = rng.choices(words, k=instruction_tokens)
    rows = []
    for _ in range(prefixes):
        prefix = instruction + rng.choices(words, k=96)
        rows += [prefix + rng.choices(words, k=rng.randint(70, 150)) for _ in range(sharing)]
    return rows


def prompts_of(table: str, count: int, seed: int) -> list[list[int]]:
    """Token ids of the rows of a table; in `shared` rows of a prefix follow one another."""
    rng = random.Random(f"{seed} {table}")

    def some(tokens: int) -> list[int]:
        return [rng.randrange(10, jenga_toys.VOCABULARY) for _ in range(tokens)]

    prefixes = [some(PREFIX_TOKENS) for _ in range(PREFIXES)] if table == "shared" else [[]]
    rows = []
    for at in range(count):
        prefix = prefixes[at * len(prefixes) // count]
        rows.append(prefix + some(rng.randint(*PROMPT_TOKENS) - len(prefix)))
    return rows


@contextlib.contextmanager
def engine(model: Path, who: str, **settings: Any) -> Any:
    """An engine in this process, gone when it is left."""
    one = Engine(model, who, **settings)
    try:
        yield one
    finally:
        one.close()


class Engine:
    """vLLM in this process, with or without our scheduler.

    Args:
        model: folder of a toy.
        who: ``stock``, ``jenga`` or ``auto``.
        block_tokens: tokens per block.
        memory_bytes: of the KV cache.
        more: arguments of `vllm.LLM`.
    """

    def __init__(self, model: Path, who: str, *, block_tokens: int, memory_bytes: int, **more: Any) -> None:
        alone()
        from vllm import LLM

        from spark_llm.engine.vllm_args import SCHEDULER
        from spark_llm.jenga.vllm_plugin import register

        register()
        if who != "stock":
            ours = more.setdefault("additional_config", {}).setdefault("spark_llm", {})
            ours.setdefault("memory", {})["allocator"] = who
            more["scheduler_cls"] = SCHEDULER
        self._llm = LLM(
            str(model),
            skip_tokenizer_init=True,
            dtype="float32",
            enforce_eager=True,
            max_model_len=more.pop("max_model_len", 1024),
            block_size=block_tokens,
            max_num_seqs=256,
            max_num_batched_tokens=more.pop("max_num_batched_tokens", 2048),
            kv_cache_memory_bytes=memory_bytes,
            hf_overrides=jenga_toys.OVERRIDES.get(model.name, {}),
            disable_log_stats=False,
            scheduling_policy="priority",
            **more,
        )
        self.scheduler = self._llm.llm_engine.engine_core.engine_core.scheduler
        self._watch = Watch(self.scheduler)

    @property
    def allocator(self) -> str:
        """Which one the engine got."""
        return "jenga" if getattr(self.scheduler, "jenga", None) is not None else "vllm"

    def run(
        self,
        prompts: Sequence[Sequence[int]],
        answer_tokens: int,
        priority: list[int] | None = None,
        *,
        empty: bool = True,
        told: Sequence[list[Any]] | None = None,
    ) -> dict[str, Any]:
        """Asks all rows at once, from an empty prefix cache or from what the last ones left in it.

        Args:
            prompts: token ids.
            answer_tokens: of each answer.
            priority: lower ones are served first.
            empty: whether the cache is.
            told: of each row what it shares with later ones, as `wire.USES_ARGUMENT` has it.
        """
        from vllm import SamplingParams

        from spark_llm.engine.wire import USES_ARGUMENT

        if empty and not self._llm.reset_prefix_cache():
            raise RuntimeError("the prefix cache cannot be emptied: a block is still in use")
        self._watch.start()
        sampling = [
            SamplingParams(
                temperature=0.0, max_tokens=answer_tokens, ignore_eos=True, detokenize=False, extra_args=more
            )
            for more in ({USES_ARGUMENT: each} if each else None for each in told or [None] * len(prompts))
        ]
        outputs = self._llm.generate(
            [{"prompt_token_ids": list(prompt)} for prompt in prompts],
            sampling,
            use_tqdm=False,
            priority=priority,
        )
        return {
            "allocator": self.allocator,
            **self._watch.figures(),
            "hit": sum(output.num_cached_tokens or 0 for output in outputs),
            "answers": [list(output.outputs[0].token_ids) for output in outputs],
        }

    def run_tasks(
        self, tasks: Sequence[Sequence[Sequence[int]]], in_flight: int, answer_tokens: int
    ) -> dict[str, Any]:
        """Asks the rows of tasks that share the engine, each with so many rows in flight."""
        import jenga_uses
        from vllm import SamplingParams

        from spark_llm.engine.wire import USES_ARGUMENT

        if not self._llm.reset_prefix_cache():
            raise RuntimeError("the prefix cache cannot be emptied: a block is still in use")
        engine, answers, hit = self._llm.llm_engine, {}, 0
        told = [
            jenga_uses.told_of(task, f"{id(tasks)} {number}", self.scheduler.block_size)
            for number, task in enumerate(tasks)
        ]
        self._watch.start()
        rows = jenga_uses.sent(tasks, in_flight)
        sending, clock = next(rows), 0
        while True:
            for task, place in sending:
                clock += 1
                sampling = SamplingParams(
                    temperature=0.0, max_tokens=answer_tokens, ignore_eos=True, detokenize=False,
                    extra_args={USES_ARGUMENT: told[task][place]},
                )  # fmt: skip
                prompt = {"prompt_token_ids": list(tasks[task][place])}
                engine.add_request(f"{task} {place}", prompt, sampling, priority=clock)
            ended = [output for output in engine.step() if output.finished]
            for output in ended:
                answers[output.request_id] = list(output.outputs[0].token_ids)
                hit += output.num_cached_tokens or 0
            try:
                sending = rows.send([int(output.request_id.split()[0]) for output in ended])
            except StopIteration:
                break
        return {
            "allocator": self.allocator,
            **self._watch.figures(),
            "hit": hit,
            "prompt tokens": sum(len(prompt) for task in tasks for prompt in task),
            "answers": [answers[f"{t} {at}"] for t, task in enumerate(tasks) for at in range(len(task))],
        }

    def close(self) -> None:
        """Ends the engine and forgets vLLM's global state, so that another may begin in this process."""
        from vllm.distributed import cleanup_dist_env_and_memory

        self._llm.llm_engine.engine_core.shutdown()
        del self._llm, self.scheduler, self._watch
        gc.collect()
        cleanup_dist_env_and_memory()


class Watch:
    """Counts a scheduler's steps, and looks at its memory in each."""

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        self._schedule = scheduler.schedule
        scheduler.schedule = self._scheduled
        self.start()

    def start(self) -> None:
        """Forgets what it saw."""
        self._steps = self._running = self._peak = self._preempted = 0
        self._needed = self._taken = 0

    def _scheduled(self, *args: Any) -> Any:
        output = self._schedule(*args)
        if output.total_num_scheduled_tokens:
            running = len(self._scheduler.running)
            self._steps += 1
            self._running += running
            self._peak = max(self._peak, running)
            self._preempted += len(output.preempted_req_ids or ())
            self._sample()
        return output

    def figures(self) -> dict[str, Any]:
        """What it saw."""
        return {
            "peak": self._peak,
            "at once": round(self._running / max(self._steps, 1), 2),
            "steps": self._steps,
            "preemptions": self._preempted,
            "utilisation": round(self._needed / max(self._taken, 1), 4),
        }

    def _sample(self) -> None:
        """Adds the bytes that layers need of the running rows, and the bytes that are taken for them."""
        from vllm.v1.kv_cache_interface import MambaSpec

        config, pool = self._scheduler.kv_cache_config, self._scheduler.kv_cache_manager.block_pool
        managers = self._scheduler.kv_cache_manager.coordinator.single_type_managers
        for group, manager in zip(config.kv_cache_groups, managers, strict=True):
            spec, layers = group.kv_cache_spec, len(group.layer_names)
            for request in self._scheduler.running:
                tokens = request.num_tokens
                if isinstance(spec, MambaSpec):
                    self._needed += layers * spec.real_page_size_bytes
                else:
                    first = manager.get_num_skipped_tokens(tokens)
                    unit = spec.real_page_size_bytes // spec.block_size
                    self._needed += layers * unit * (tokens - first)
        total = config.kv_cache_tensors[0].size
        taken = pool.num_gpu_blocks - 1 - pool.get_num_free_blocks()
        self._taken += taken * (total // pool.num_gpu_blocks)


def gates_of(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What the rows must show."""

    def of(row: dict[str, Any], who: str) -> dict[str, Any]:
        keys = ("model", "block", "table")
        return next(
            each for each in rows if each["who"] == who and all(each[key] == row[key] for key in keys)
        )

    auto = [row for row in rows if row["who"] == "auto"]
    steps = [row["steps"] / of(row, "stock")["steps"] for row in auto]
    gemma4 = [
        row["peak"] / of(row, "stock")["peak"]
        for row in rows
        if (row["model"], row["block"], row["table"], row["who"]) == ("gemma4", 128, "apart", "jenga")
    ]
    alike = [
        abs(row["steps"] / of(row, "stock")["steps"] - 1)
        for row in auto
        if row["model"] in jenga_toys.HOMOGENEOUS
    ]
    different = sum(row["different answers"] for row in rows)
    gates = {"answers that differ from vLLM's": harness.gate(different, 0, at_least=False)}
    if steps:
        gates["steps of auto / steps of stock, worst"] = harness.gate(max(steps), 1.01, at_least=False)
    planned = [row for row in rows if row["who"] == "junctions"]
    short = [
        row["hit"] / max(of(row, "stock")["hit"], 1) for row in planned if row["table"] == "3 rows a prefix"
    ]
    if short:
        gates["hit tokens of planned junctions / stock's, 3 rows a prefix"] = harness.gate(short[0], 2.0)
    if gemma4:
        gates["peak of gemma4 at blocks of 128 / stock's"] = harness.gate(max(gemma4), 1.4)
    if alike:
        gates["homogeneous: steps off stock's by"] = harness.gate(max(alike), 0.01, at_least=False)
    return gates


if __name__ == "__main__":
    main()
