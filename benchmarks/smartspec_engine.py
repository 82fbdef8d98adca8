"""Does speculation save steps of the real engine, and are the answers the same?

vLLM on the CPU with the demo model, rows of its shop that it never saw, three tasks: copying a text out of
the row, JSON under a schema, one label of a list. Greedy, in float32. Each at concurrency 1, 8 and 64 by

    none      vLLM's own scheduler, no speculation
    ngram 7   vLLM's own n-gram drafts, always 7 (the naive rival)
    fixed 7   our drafts, always 7
    goodput   our drafts, the published rule
    value     our drafts, our rule (the default)
    bound     the fewest steps there can be: every draft of 7 tokens right

Steps are counted, not timed: on this model a step's time is Python, on a real one it is the weights that are
read. Policies are told the step times of a GPU, so that decisions do not depend on this machine's load.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import harness

DEMO_MODEL = harness.ROOT / "spark_llm" / "demo" / "model"
CONCURRENCY = (1, 8, 64)
LENGTH = 7
TICKET_FORMS = {
    "Give topic and urgent as JSON.": {"topic": "string", "urgent": "boolean"},
    "Give order and customer as JSON.": {"order": "string", "customer": "string"},
}
SENTIMENTS = ("positive", "negative", "mixed")


@dataclass(frozen=True)
class Ask:
    """One row: its message and how its answer is constrained."""

    user: str
    call: str
    schema: dict[str, Any] | None = None
    choice: tuple[str, ...] | None = None


def main() -> None:
    """Measures and reports; exits 0 whatever the gates say."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument("--rows", type=int, default=2000, help="rows of all tasks together (default 2000)")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--model", type=Path, default=DEMO_MODEL)
    parser.add_argument("--tasks", nargs="+", default=["copy", "json", "labels"])
    parser.add_argument("--concurrency", type=int, nargs="+", default=list(CONCURRENCY))
    options = parser.parse_args()
    asks = {task: list(rows_of(task, options.rows // 3, options.seed)) for task in options.tasks}
    rows, gates = measure(options.model, asks, options.concurrency, options.json)
    harness.report(rows, gates, options.json)


def rows_of(task: str, count: int, seed: int) -> Iterator[Ask]:
    """Questions about held-out rows of the demo's shop."""
    from spark_llm.demo import ask_fields, ask_reviews, ask_tickets
    from spark_llm.demo.example import user_message

    rng = random.Random(f"{seed} {task}")
    for number in range(count):
        if task == "copy":
            example = ask_fields.copy_text(rng, "held_out")
            yield Ask(example.user, example.instruction)
        elif task == "json":
            example = ask_tickets.ticket_json(rng, "held_out")
            instruction, fields = list(TICKET_FORMS.items())[number % 2]
            properties = {name: {"type": kind} for name, kind in fields.items()}
            schema = {"type": "object", "properties": properties, "required": list(fields)}
            yield Ask(
                user_message(instruction, example.row),
                instruction,
                schema={**schema, "additionalProperties": False},
            )
        else:
            example = ask_reviews.review_mood_label(rng, "held_out")
            instruction = f"Choose the sentiment of the review: {', '.join(SENTIMENTS)}."
            yield Ask(user_message(instruction, example.row), instruction, choice=SENTIMENTS)


def measure(
    model: Path, asks: dict[str, list[Ask]], levels: list[int], file: Path | None
) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Every task at every concurrency by everyone."""
    rows: list[dict[str, Any]] = []
    known: dict[tuple[str, int], tuple[int, list[list[int]]]] = {}
    for who in ("none", "ngram 7", "fixed 7", "goodput", "value"):
        # An engine needs a process of its own: vLLM does not clear up behind itself.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            runs = process.submit(run_all, model, who, asks, levels).result()
        for task, level, ran in runs:
            tokens = ran.pop("answers")
            steps, answers = known.setdefault((task, level), (ran["steps"], tokens))
            rows.append(
                {
                    "who": who, "task": task, "at once": level, "rows": len(tokens), **ran,
                    "none's steps / steps": steps / ran["steps"],
                    "different answers": sum(a != b for a, b in zip(tokens, answers, strict=True)),
                }
            )  # fmt: skip
            if who == "none":
                rows.append(bound_of(task, level, len(tokens), answers, steps))
        if file is not None:
            harness.write(rows, {}, file)
    return rows, gates_of(rows)


def run_all(
    model: Path, who: str, asks: dict[str, list[Ask]], levels: list[int]
) -> list[tuple[str, int, dict[str, Any]]]:
    """What one contender did, by task and concurrency; in a process of its own."""
    engine = Engine(model, who)
    runs = []
    for task, questions in asks.items():
        for level in levels:
            runs.append((task, level, engine.run(questions, level)))
            told = {key: value for key, value in runs[-1][2].items() if key != "answers"}
            print(json.dumps({"who": who, "task": task, "at once": level, **told}), flush=True)
    return runs


def bound_of(task: str, level: int, count: int, answers: list[list[int]], baseline: int) -> dict[str, Any]:
    """The steps of the same answers with every draft right, if no row ever waits for another."""
    steps = [1 + -(-max(len(answer) - 1, 0) // (LENGTH + 1)) for answer in answers]
    fewest = max(*steps, -(-sum(steps) // level))
    return {
        "who": "bound", "task": task, "at once": level, "rows": count, "steps": fewest,
        "none's steps / steps": baseline / fewest,
    }  # fmt: skip


class Engine:
    """vLLM in this process, with or without our scheduler."""

    def __init__(self, model: Path, who: str) -> None:
        harness.vllm_alone(plugins="", log_level="ERROR")
        from vllm import LLM

        from spark_llm.engine.vllm_args import LOOK_UP_PROPOSER, SCHEDULER

        more: dict[str, Any] = {}
        if who == "ngram 7":
            more["speculative_config"] = {
                "method": "ngram", "num_speculative_tokens": LENGTH,
                "prompt_lookup_min": 2, "prompt_lookup_max": 4,
            }  # fmt: skip
        elif who != "none":
            more["speculative_config"] = {
                "method": "custom_class", "model": LOOK_UP_PROPOSER, "num_speculative_tokens": LENGTH,
            }  # fmt: skip
            ours = {"policy": who.split(maxsplit=1)[0], "pretend": "h100-8b"}
            more |= {"scheduler_cls": SCHEDULER, "additional_config": {"spark_llm": {"speculative": ours}}}
        self._llm = LLM(
            str(model),
            dtype="float32",
            enforce_eager=True,
            max_model_len=1024,
            block_size=32,
            max_num_seqs=max(CONCURRENCY),
            kv_cache_memory_bytes=256 << 20,
            disable_log_stats=True,
            structured_outputs_config={"backend": "xgrammar"},
            **more,
        )
        self._scheduler = self._llm.llm_engine.engine_core.engine_core.scheduler
        self._counts = counting(self._scheduler)

    def run(self, asks: list[Ask], level: int) -> dict[str, Any]:
        """Asks all rows, at most `level` at once, from an empty prefix cache."""
        from vllm import SamplingParams
        from vllm.sampling_params import StructuredOutputsParams

        from spark_llm.engine.json_grammar import with_fixed_blanks
        from spark_llm.engine.wire import CALL_ARGUMENT
        from spark_llm.prompts import SYSTEM_PROMPT

        self._llm.reset_prefix_cache()
        if (forget := getattr(self._scheduler, "start_speculation", None)) is not None:
            forget()
        self._scheduler.max_num_active_reqs = level
        self._counts.update(steps=0, drafted=0, accepted=0)
        chats, sampling = [], []
        for ask in asks:
            chats.append(
                [{"role": "system", "content": SYSTEM_PROMPT}, {"role": "user", "content": ask.user}]
            )
            form = (
                {"json": ask.schema} if ask.schema else {"choice": list(ask.choice)} if ask.choice else None
            )
            sampling.append(
                SamplingParams(
                    temperature=0.0,
                    max_tokens=96,
                    structured_outputs=StructuredOutputsParams(**with_fixed_blanks(form)) if form else None,
                    extra_args={CALL_ARGUMENT: ask.call},
                )
            )
        thinking_off = {"enable_thinking": False}
        outputs = self._llm.chat(chats, sampling, chat_template_kwargs=thinking_off, use_tqdm=False)
        answers = [list(output.outputs[0].token_ids) for output in outputs]
        return {
            "steps": self._counts["steps"],
            "tokens out": sum(map(len, answers)),
            "drafted": self._counts["drafted"],
            "accepted": self._counts["accepted"],
            "answers": answers,
        }


def counting(scheduler: Any) -> dict[str, int]:
    """Counts a scheduler's steps, and what they verified and accepted."""
    counts = {"steps": 0, "drafted": 0, "accepted": 0}
    update = scheduler.update_from_output

    def counted(output: Any, computed: Any) -> Any:
        counts["steps"] += output.total_num_scheduled_tokens > 0
        for name, draft in output.scheduled_spec_decode_tokens.items():
            counts["drafted"] += len(draft)
            counts["accepted"] += len(computed.sampled_token_ids[computed.req_id_to_index[name]]) - 1
        return update(output, computed)

    scheduler.update_from_output = counted
    return counts


def gates_of(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What the rows must show."""
    value = [row for row in rows if row["who"] == "value"]
    ratio = "none's steps / steps"
    few = [row[ratio] for row in value if row["at once"] <= 8 and row["task"] in ("copy", "json")]
    many = [row[ratio] for row in value if row["at once"] == 64]
    ours = [row for row in rows if row["who"] in ("fixed 7", "goodput", "value")]
    different = sum(row["different answers"] for row in ours)
    gates = {"answers that differ from no speculation, ours": harness.gate(different, 0, at_least=False)}
    if few:
        gates["fewest times none's steps, copy and json, at concurrency 1 and 8"] = harness.gate(
            min(few), 1.3
        )
    if many:
        gates["fewest times none's steps at concurrency 64"] = harness.gate(min(many), 1.0)
    return gates


if __name__ == "__main__":
    main()
