"""The way of a task's batches: read ahead, ask, and give back in order.

    read  ─► batch 5 ─ submit ┐
                              │ under way: 4 3 2      at most spark.llm.maxInFlightRows rows (or one batch)
    yield ◄─ batch 1 ◄ wait ◄─┘
                              the oldest is waited for only when no more may be read, so the engine has work

A batch that is done is given back before the next one is read, since reading can wait for the whole query.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from spark_llm.engine.types import EngineRequest, Sampling
from spark_llm.errors import SparkLLMError, engine_failed, output_invalid
from spark_llm.prompts import Renderer, system_for
from spark_llm.worker import clients
from spark_llm.worker.answer import AnswerParser
from spark_llm.worker.command import result_type
from spark_llm.worker.constraint import constraint_of
from spark_llm.worker.dedup import NOT_ASKED, PromptTable, Slot, applies
from spark_llm.worker.result import ResultWriter
from spark_llm.worker.scalar import Invalid
from spark_llm.worker.zone import zone_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from concurrent.futures import Future

    import pyarrow as pa

    from spark_llm.conf import Conf
    from spark_llm.engine.types import EngineAnswer
    from spark_llm.worker.command import Call


class Batch(NamedTuple):
    """A batch under way.

    Attributes:
        slots: outcome per row, shape (rows,).
        asked: rows that asked a question of their own, in the order of the request.
        future: the engine's answers to these, None when nothing was asked.
    """

    slots: list[Slot]
    asked: list[int]
    future: Future[list[EngineAnswer]] | None


def run(
    call: Call, conf: Conf, batches: Iterator[pa.RecordBatch], environ: Mapping[str, str]
) -> Iterator[pa.RecordBatch]:
    """Answers a partition.

    Args:
        call: what is asked.
        conf: checked settings.
        batches: columns ``f0`` … as JSON text, then ``instruction`` when the call has none.
        environ: where the executor's engine is.

    Yields:
        One batch of `command.result_type` per input batch that has rows, in order.

    Raises:
        SparkLLMError: the engine failed as a whole.
    """
    task, writer = Task(call, conf, environ), ResultWriter(result_type(call.return_type))
    window_rows = conf.integer("spark.llm.maxInFlightRows")
    under_way: deque[Batch] = deque()
    rows = 0
    try:
        for record_batch in batches:
            if not record_batch.num_rows:
                continue
            while under_way and (rows + record_batch.num_rows > window_rows or _done(under_way[0])):
                oldest = under_way.popleft()
                rows -= len(oldest.slots)
                yield task.finish(oldest, writer)
            under_way.append(task.start(record_batch))
            rows += record_batch.num_rows
        while under_way:
            yield task.finish(under_way.popleft(), writer)
    except BaseException:
        # Also when the JVM needs no more rows (LIMIT) or the task is killed: nobody waits for these answers.
        for batch in under_way:
            if batch.future is not None:
                batch.future.cancel()
        raise


def _done(batch: Batch) -> bool:
    return batch.future is None or batch.future.done()


class Task:
    """What the batches of a partition have in common: prompts, questions asked before, the engine."""

    def __init__(self, call: Call, conf: Conf, environ: Mapping[str, str]) -> None:
        self._call, self._conf, self._environ = call, conf, environ
        self._system = system_for(conf)
        self._order = call.field_order or tuple(range(len(call.field_names)))
        self._renderer = Renderer([call.field_names[place] for place in self._order])
        self._parse = AnswerParser(call.return_type, zone_of(conf.time_zone), call.max_tokens)
        self._type_name = call.return_type.simpleString().upper()
        self._table = PromptTable(conf.integer("spark.llm.dedup.maxAnswers")) if applies(call, conf) else None
        self._sampling = Sampling(
            call.model, call.temperature, call.max_tokens, call.seed, constraint_of(call.return_type)
        )

    def start(self, record_batch: pa.RecordBatch) -> Batch:
        """Renders the rows of a batch and hands the new questions to the engine, without waiting."""
        slots: list[Slot] = []
        asked: list[int] = []
        requests: list[EngineRequest] = []
        for row, user in enumerate(self._users(record_batch)):
            if user is None:
                slots.append(NOT_ASKED)
                continue
            slot, new = self._table.find(user) if self._table is not None else (Slot(), True)
            slots.append(slot)
            if new:
                asked.append(row)
                requests.append(EngineRequest(self._system, user))
        if not requests:
            return Batch(slots, asked, None)
        # The engine is reached for the first question only: a partition without one needs none.
        client = clients.client_for(self._conf, self._environ)
        return Batch(slots, asked, client.submit(requests, self._sampling))

    def finish(self, batch: Batch, writer: ResultWriter) -> pa.RecordBatch:
        """Waits for the answers of a batch and returns its rows.

        Batches are finished in the order of `start`, so a slot shared with an earlier batch is filled by now.
        """
        if batch.future is None:
            return writer.write(batch.slots, {}, 0)
        started = time.monotonic()
        try:
            answers = batch.future.result()
        except Exception as error:
            clients.forget(self._conf, self._environ)
            if isinstance(error, SparkLLMError):
                raise
            raise engine_failed(f"{type(error).__name__}: {error}") from error
        wait_ms = round((time.monotonic() - started) * 1000)
        if len(answers) != len(batch.asked):
            raise engine_failed(f"{len(batch.asked)} prompts were sent and {len(answers)} answers came back")
        refused = False
        for row, answer in zip(batch.asked, answers, strict=True):
            self._fill(batch.slots[row], answer)
            refused = refused or answer.condition is not None
        if refused and self._table is not None:
            self._table.forget_failed()
        return writer.write(batch.slots, dict(zip(batch.asked, answers, strict=True)), wait_ms)

    def _users(self, record_batch: pa.RecordBatch) -> Iterator[str | None]:
        call, user = self._call, self._renderer.user
        fields = [record_batch.column(f"f{place}").to_pylist() for place in self._order]
        if call.instruction is not None:
            constant = call.instruction
            if not fields:
                return (user(constant, ()) for _ in range(record_batch.num_rows))
            return (user(constant, texts) for texts in zip(*fields, strict=True))
        instructions = record_batch.column("instruction").to_pylist()
        rows = zip(*fields, strict=True) if fields else (() for _ in instructions)
        pairs = zip(instructions, rows, strict=True)
        return (None if given is None else user(given, texts) for given, texts in pairs)

    def _fill(self, slot: Slot, answer: EngineAnswer) -> None:
        if answer.condition is not None or answer.text is None:
            slot.condition, slot.message = answer.condition or "LLM_REQUEST_REJECTED", answer.message
            return
        try:
            slot.value = self._parse(answer.text, answer.finish_reason)
        except Invalid as reason:
            error = output_invalid(self._type_name, answer.text, str(reason))
            slot.condition, slot.message = error.condition, error.message
