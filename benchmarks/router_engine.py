"""The semantic router on the real engine: the demo model, five tables, four policies.

    python benchmarks/router_engine.py --json benchmarks/results/router_engine.json [--data DIR]

Tables are the demo's held-out questions: with thinking the model computes, without it guesses; the other
questions need none. Every answer comes from one vLLM engine behind the product's own client, asked once per
question and mode (greedy, float32: asking again gives the same); `cascade` runs through the worker's own
`AutoClient`, pilot and audit included in its tokens. `semantic_router` is the published policy with its own
fourteen categories, learned from the questions in DIR; without DIR it is left out. `cascade, same tokens` is
held to the tokens that the published policy took.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from harness import gate, report

from spark_llm.conf import parse_conf
from spark_llm.demo.generate import SYSTEM_PROMPT, held_out
from spark_llm.engine.http_batch import HttpBatchClient
from spark_llm.engine.machine import this_machine
from spark_llm.engine.types import EngineAnswer, EngineRequest, Reasoning, Sampling
from spark_llm.engine.uds import get_status
from spark_llm.engine.vllm_args import SERVER_MODULE, launch_of
from spark_llm.router import Budget
from spark_llm.worker.answer import AnswerParser
from spark_llm.worker.auto import AutoClient, AutoSettings
from spark_llm.worker.command import parse_type
from spark_llm.worker.first_pass import AnswerReader
from spark_llm.worker.fitted import Fitted
from spark_llm.worker.shelf import LocalShelf
from spark_llm.worker.zone import zone_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from spark_llm.demo.example import Example

MODEL = Path(__file__).resolve().parents[1] / "spark_llm" / "demo" / "model"
SLICE = 256
MIXED = 8
"""So many times the rows of the others has the mixed table: a pilot of 50 is little of a large table."""
ANSWER_TOKENS, THINKING_TOKENS = 64, 200
START_S = 300.0
ON = Reasoning(
    on=True, fields={"chat_template_kwargs": {"enable_thinking": True}}, budget_tokens=THINKING_TOKENS
)
OFF = Reasoning(fields={"chat_template_kwargs": {"enable_thinking": False}})


@dataclass(frozen=True)
class Table:
    """Questions in the order in which a query meets them, and labels that the user has, if any."""

    name: str
    questions: Sequence[Example]
    labels: Sequence[str] | None = None

    @property
    def requests(self) -> list[EngineRequest]:
        """As a worker sends them."""
        labels = self.labels or [None] * len(self.questions)
        return [
            EngineRequest(SYSTEM_PROMPT, each.user, label=None if label is None else _field(label))
            for each, label in zip(self.questions, labels, strict=True)
        ]


def _field(value: str) -> str:
    return json.dumps({"v": value})


def tables(rows: int, seed: int) -> list[Table]:
    """All easy, all hard, mixed, one that changes half-way, and the mixed one with labels, some wrong.

    The mixed ones are predicates beside sums. A ninth is hard: the published router gained ten points over
    no reasoning, which is what such a table has to gain. How much any policy can save depends on the share of
    hard rows: see the rows of `oracle`, and the table with four hard rows in ten.
    """
    drawn = held_out(seed, MIXED * rows)
    hard = drawn.pop("arithmetic")
    rng = Random(seed)
    every = [example for examples in drawn.values() for example in examples]
    rng.shuffle(every)
    easy = [example for task in ("filter", "match") for example in drawn[task]]
    rng.shuffle(easy)

    def mix(share: float, count: int, skip: int = 0) -> list[Example]:
        some = round(share * count)
        found = hard[skip : skip + some] + easy[skip : skip + count - some]
        rng.shuffle(found)
        return found

    mixed = mix(0.115, MIXED * rows)
    half = rows // 2
    other = [example.answer for example in mixed]
    rng.shuffle(other)
    noisy = [wrong if rng.random() < 0.2 else each.answer for each, wrong in zip(mixed, other, strict=True)]
    return [
        Table("mixed", mixed),
        Table("noisy labels", mixed, noisy),
        Table("all easy", every[:rows]),
        Table("all hard", hard[:rows]),
        Table("shifted", mix(0.05, half) + mix(0.3, rows - half, skip=half)),
        Table("four in ten hard", mix(0.4, rows)),
    ]


class Engine:
    """vLLM's server with the product's arguments, and its client; each question is asked once per mode."""

    def __init__(self, folder: Path, dtype: str) -> None:
        socket = folder / "engine.sock"
        conf = parse_conf({
            "spark.llm.model": str(MODEL), "spark.llm.engine.dtype": dtype,
            "spark.llm.engine.maxModelLen": "1024", "spark.llm.engine.kvCacheMemory": "256m",
        })  # fmt: skip
        launch = launch_of(conf, str(MODEL), "demo", str(socket), this_machine(), os.environ)
        with (folder / "engine.log").open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", SERVER_MODULE, *launch.arguments],
                env={**os.environ, **launch.environment}, stdout=log, stderr=log,
            )  # fmt: skip
        end = time.monotonic() + START_S
        while not socket.exists() or get_status(str(socket), "/health") != 200:
            if self._process.poll() is not None or time.monotonic() > end:
                raise SystemExit((folder / "engine.log").read_text()[-3000:])
            time.sleep(0.5)
        self._client = HttpBatchClient(str(socket), None, START_S)
        self._known: dict[Any, EngineAnswer] = {}

    def submit(self, requests: Sequence[EngineRequest], sampling: Sampling) -> Future[list[EngineAnswer]]:
        """An `EngineClient`'s; log-probabilities are always asked for, as they change no answer."""
        thinking = sampling.reasoning
        sampling = replace(sampling, reasoning=replace(thinking, figures=not thinking.on))
        mode = (thinking.on, thinking.budget_tokens, sampling.temperature, sampling.seed)
        new = list({each.user: each for each in requests if (mode, each.user) not in self._known}.values())
        if new:
            found = self._client.submit([replace(each, label=None) for each in new], sampling).result(600)
            for request, answer in zip(new, found, strict=True):
                if answer.condition is not None:
                    raise SystemExit(f"{answer.condition}: {answer.message}")
                self._known[mode, request.user] = answer
        future: Future[list[EngineAnswer]] = Future()
        future.set_result([self._known[mode, each.user] for each in requests])
        return future

    def close(self) -> None:
        """Ends the engine."""
        self._client.close()
        self._process.kill()
        self._process.wait()


def sampled(reasoning: Reasoning) -> Sampling:
    """Greedy, free text."""
    return Sampling(None, 0.0, ANSWER_TOKENS, None, None, reasoning=reasoning)


def outcome(table: Table, policy: str, answers: Sequence[EngineAnswer], **more: Any) -> dict[str, Any]:
    """A row of the result."""
    right = sum((a.text or "").strip() == q.answer for a, q in zip(answers, table.questions, strict=True))
    return {
        "table": table.name,
        "policy": policy,
        "rows": len(answers),
        "accuracy": round(100 * right / len(answers), 2),
        "generated_tokens": sum(a.generated_tokens for a in answers),
        "thinking_tokens": sum(a.thinking_tokens for a in answers),
        "reasoned": round(sum(a.reasoned for a in answers) / len(answers), 4),
        "cut_off": sum(a.thinking_cut for a in answers),
        **more,
    }


def always(engine: Engine, table: Table, reasoning: Reasoning) -> list[EngineAnswer]:
    """All rows in one mode."""
    return engine.submit(table.requests, sampled(reasoning)).result()


def cascade(engine: Engine, table: Table, budget: Budget | None = None) -> tuple[list[EngineAnswer], Fitted]:
    """All rows through the worker's client, slice by slice."""
    reader = AnswerReader(AnswerParser(parse_type('"string"'), zone_of("UTC"), ANSWER_TOKENS))
    shelf = LocalShelf(object())
    client = AutoClient(
        lambda: engine, OFF, ON, reader, shelf, AutoSettings(budget=budget, rows=len(table.questions))
    )
    requests, answers = table.requests, []
    for at in range(0, len(requests), SLICE):
        answers += client.submit(requests[at : at + SLICE], sampled(OFF)).result()
    client.close()
    return answers, Fitted.from_json(shelf.claim())


def oracle(engine: Engine, table: Table) -> list[EngineAnswer]:
    """Reasons where only that is right, which no policy can know, and pays for one pass a row."""
    both = zip(table.questions, always(engine, table, OFF), always(engine, table, ON), strict=True)
    return [
        on if on.text == question.answer and off.text != question.answer else off
        for question, off, on in both
    ]


def published(engine: Engine, table: Table, policy: Any) -> list[EngineAnswer]:
    """The published policy: by the text alone, one pass."""
    from spark_llm.router import Signals

    requests = table.requests
    chosen = policy.scores(Signals(rows=len(requests), prompts=[each.user for each in requests])) > 0
    answers: list[EngineAnswer] = []
    for request, on in zip(requests, chosen, strict=True):
        answers += engine.submit([request], sampled(ON if on else OFF)).result()
    return answers


def published_policy(folder: Path) -> Any:
    """With its own categories, learned from the questions in a folder."""
    import pyarrow.parquet as pq

    from spark_llm.router import policy_of
    from spark_llm.router.text import TextClassifier

    questions = pq.read_table(
        folder / "mmlu_pro_answers.parquet", columns=["question", "category"]
    ).to_pydict()
    return policy_of(
        "semantic_router", categories=TextClassifier.fit(questions["question"], questions["category"])
    )


def measured(engine: Engine, table: Table, policy: Any) -> Iterator[dict[str, Any]]:
    """All policies on one table."""
    yield outcome(table, "always_off", always(engine, table, OFF))
    yield outcome(table, "always_on", always(engine, table, ON))
    yield outcome(table, "oracle", oracle(engine, table))
    answers, fitted = cascade(engine, table)
    yield outcome(table, "cascade", answers, why=fitted.reason)
    if policy is None:
        return
    theirs = outcome(table, "semantic_router", published(engine, table, policy))
    yield theirs
    if table.name != "mixed":
        return
    off = sum(a.generated_tokens for a in always(engine, table, OFF))
    spare = max(theirs["generated_tokens"] - off, 0) / len(table.questions)
    answers, fitted = cascade(engine, table, Budget(row_tokens=spare))
    yield outcome(table, "cascade, same tokens", answers, why=fitted.reason)


def gates(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """From the measured rows alone."""
    by = {(row["table"], row["policy"]): row for row in rows}
    names = list(dict.fromkeys(row["table"] for row in rows))
    ours, on, off = (by["mixed", policy] for policy in ("cascade", "always_on", "always_off"))
    found = {
        "mixed: tokens saved against always_on, %": gate(
            100 * (1 - ours["generated_tokens"] / on["generated_tokens"]), 48.5
        ),
        "mixed: accuracy less always_on, points": gate(ours["accuracy"] - on["accuracy"], -1.0),
        "mixed: accuracy less always_off, points": gate(ours["accuracy"] - off["accuracy"], 10.2),
        "any table: accuracy less the better of on and off, points": gate(
            min(
                by[name, "cascade"]["accuracy"]
                - max(by[name, "always_on"]["accuracy"], by[name, "always_off"]["accuracy"])
                for name in names
            ),
            -1.0,
        ),
    }
    if ("mixed", "semantic_router") in by:
        found["mixed: accuracy at the published policy's tokens less its accuracy, points"] = gate(
            by["mixed", "cascade, same tokens"]["accuracy"] - by["mixed", "semantic_router"]["accuracy"], 2.0
        )
    return found


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--data", type=Path, default=None, help="folder with mmlu_pro_answers.parquet")
    parser.add_argument(
        "--rows", type=int, default=500, help="of each table; of the mixed ones eight times as many"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dtype", default="float32", choices=("bfloat16", "float32"))
    chosen = parser.parse_args()
    policy = None if chosen.data is None else published_policy(chosen.data)
    with tempfile.TemporaryDirectory(prefix="router-", dir="/tmp") as folder:
        engine = Engine(Path(folder), chosen.dtype)
        try:
            rows = []
            for table in tables(chosen.rows, chosen.seed):
                rows += list(measured(engine, table, policy))
                print(f"{table.name}: done", flush=True)
        finally:
            engine.close()
    report(rows, gates(rows), chosen.json)


if __name__ == "__main__":
    main()
