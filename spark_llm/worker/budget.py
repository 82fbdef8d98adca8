"""Asks the driver before prompts are sent whether the query's budget allows them, and tells what they took.

    prompts ─► lease ─┬─► granted n: the first n may go   ─► answers ─► settle (a thread of its own)
                      ├─► not now: others have not settled yet
                      └─► exceeded: nothing of this query is sent any more

Settling does not wait for the task to look at its answers: a task that stands still, because the next call of
its query waits for this very refund, must not hold it back.
"""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, NamedTuple

from spark_llm.engine.types import EngineAnswer
from spark_llm.errors import SparkLLMError, engine_failed
from spark_llm.worker.port import Port

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from spark_llm.conf import Conf
    from spark_llm.engine.types import EngineRequest

EXCEEDED: Final = "LLM_BUDGET_EXCEEDED"
_CONF: Final = (
    "spark.llm.budget",
    "spark.llm.price.prompt",
    "spark.llm.price.cached",
    "spark.llm.price.answer",
)
# Usage of engines that do not tell it.
_BYTES_PER_UNIT: Final = 4


class TaskId(NamedTuple):
    """Whose requests they are.

    Attributes:
        query: SQL execution id of the query at the root, which all its calls and subqueries share; outside of
            SQL (`DataFrame.rdd`) the stage.
        attempt: Spark's task attempt id, unique in the application.
    """

    query: str
    attempt: int

    @classmethod
    def current(cls) -> TaskId:
        """Returns the task that this worker runs."""
        from pyspark import TaskContext

        context = TaskContext.get()
        if context is None:
            return cls("no query", -1)
        query = context.getLocalProperty("spark.sql.execution.root.id")
        return cls(query or f"stage {context.stageId()}", context.taskAttemptId())


class Lease(NamedTuple):
    """Leave to send the first ``requests`` requests; ``number`` is the driver's name for it."""

    number: int
    requests: int
    bytes: list[int]


class BudgetGate:
    """The budget as one task sees it.

    Args:
        conf: checked settings.
        port: way to the driver.
        task: whose requests they are.
        sleep: waits between two questions for the same lease; injectable for tests.
    """

    def __init__(
        self, conf: Conf, port: Port, task: TaskId, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._port, self._task, self._sleep = port, task, sleep
        self._conf = {key: conf.settings[key] for key in _CONF if key in conf.settings}
        self._fail = conf.get("spark.llm.budget.onExceeded") == "fail"
        self._settling = ThreadPoolExecutor(1, "spark-llm-settle")
        self.exceeded: SparkLLMError | None = None

    @classmethod
    def open(cls, conf: Conf, environ: Mapping[str, str]) -> BudgetGate | None:
        """Returns the gate of the current task; None without a budget.

        Raises:
            SparkLLMError: LLM_ENGINE_FAILED when there is a budget and no way to the driver.
        """
        if conf.get("spark.llm.budget") is None:
            return None
        port = Port.open(environ)
        if port is None:
            raise engine_failed(
                "spark.llm.budget is set, and this worker has no way to the driver to share it"
            )
        return cls(conf, port, TaskId.current())

    def lease(self, requests: Sequence[EngineRequest], most_answer: int, *, wait: bool) -> Lease | None:
        """Asks to send requests, in this order; None: nothing may be sent now.

        `exceeded` tells whether that is for good.

        Args:
            requests: at least one.
            most_answer: tokens of the longest answer.
            wait: ask again until some may go, or none ever will; False to take what comes at once.

        Raises:
            SparkLLMError: LLM_BUDGET_EXCEEDED with spark.llm.budget.onExceeded=fail.
        """
        sizes = [len(each.system.encode(errors="replace")) + len(each.user.encode(errors="replace"))
                 for each in requests]  # fmt: skip
        while self.exceeded is None:
            reply = self._port.call(
                "lease",
                query=self._task.query,
                task=self._task.attempt,
                conf=self._conf,
                bytes=sizes,
                max_answer=most_answer,
            )
            if reply["granted"]:
                return Lease(reply["lease"], reply["granted"], sizes[: reply["granted"]])
            if reply.get("exceeded"):
                self.exceeded = SparkLLMError(EXCEEDED, allowed=reply["allowed"], spent=reply["spent"])
                if self._fail:
                    raise self.exceeded
            elif wait:
                self._sleep(reply["wait_s"])
            else:
                break
        return None

    def sent(self, lease: Lease, futures: Sequence[Future[list[EngineAnswer]]]) -> None:
        """Settles a lease as soon as all of its answers are there."""
        # futures end in several threads; next() of a built-in iterator is atomic
        left = iter(range(len(futures) - 1, -1, -1))

        def ended(_: Future[list[EngineAnswer]]) -> None:
            if next(left) == 0:
                self._settle(lease, futures)

        for future in futures:
            future.add_done_callback(ended)

    def unanswered(self, count: int) -> Future[list[EngineAnswer]]:
        """Returns what becomes of requests that are over the budget: answers that say so."""
        message = "" if self.exceeded is None else self.exceeded.message
        answers: Future[list[EngineAnswer]] = Future()
        answers.set_result([EngineAnswer(None, EXCEEDED, message, 0, 0, 0, None)] * count)
        return answers

    def close(self) -> None:
        """Waits until all that was answered is settled."""
        self._settling.shutdown()

    def _settle(self, lease: Lease, done: Sequence[Future[list[EngineAnswer]]]) -> None:
        # Once closed it takes no more: the driver settles what a task leaves behind.
        with contextlib.suppress(RuntimeError):
            self._settling.submit(self._tell, lease, done)

    def _tell(self, lease: Lease, done: Sequence[Future[list[EngineAnswer]]]) -> None:
        query, number = self._task.query, lease.number
        if any(each.cancelled() or each.exception() is not None for each in done):
            self._port.call("settle", query=query, lease=number, lost=True)
            return
        answers = [answer for each in done for answer in each.result()]
        prompt, cached, answer, per_byte = usage(answers, lease.bytes)
        counted = [size for each, size in zip(answers, lease.bytes, strict=True) if each.prompt_tokens]
        self._port.call(
            "settle",
            query=query,
            lease=number,
            prompt=prompt,
            cached=cached,
            answer=answer,
            per_byte=per_byte,
            least=min(counted, default=2**31 - 1),
        )


def usage(answers: Sequence[EngineAnswer], sizes: Sequence[int]) -> tuple[int, int, int, float]:
    """Returns prompt, cached and answer tokens, and the most prompt tokens a byte of any prompt.

    An engine that answers and counts nothing has spent nevertheless: four bytes are taken for a token.

    Args:
        answers: what the engine said.
        sizes: bytes of each prompt, shape as of ``answers``.
    """
    prompt = cached = generated = 0
    per_byte = 0.0
    for answer, size in zip(answers, sizes, strict=True):
        cached += answer.cached_prompt_tokens
        if answer.prompt_tokens == 0 and answer.text is not None:
            prompt += -(-size // _BYTES_PER_UNIT)
            generated += answer.generated_tokens or -(
                -len(answer.text.encode(errors="replace")) // _BYTES_PER_UNIT
            )
            continue
        prompt += answer.prompt_tokens
        generated += answer.generated_tokens
        per_byte = max(per_byte, answer.prompt_tokens / max(size, 1))
    return prompt, cached, generated, per_byte
