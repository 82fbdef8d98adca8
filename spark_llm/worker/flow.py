"""What a task holds between reading a batch and giving it back.

    add ─► window  ─ plan ─► unsent ─ send ─► in flight ─ wait ─► slots ─► give_back, in input order
           rows read,        requests in      slices of the      answers
           not planned       plan order       plan                 └─────► give_back, early, to be kept

A batch can wait for answers of its whole window, as rows are planned across batches. Where the JVM keeps
answers for later queries it gets those that wait ahead of their turn.

Rows read and not given back are at most two windows (spark.llm.planner.windowRows and windowBytes), or one
window and spark.llm.maxInFlightRows where that is more; one batch may come on top. Prompts exist only for
what is in flight: they are rendered slice by slice. Where the engine is told what they share, all prompts of
a window exist while it is planned.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final

from spark_llm.engine.types import EngineRequest, Sampling
from spark_llm.errors import SparkLLMError, engine_failed, output_invalid
from spark_llm.prompts import prompt_hash, system_for
from spark_llm.worker import clients
from spark_llm.worker.answer import AnswerParser
from spark_llm.worker.auto_open import open_auto
from spark_llm.worker.budget import EXCEEDED, BudgetGate
from spark_llm.worker.command import result_type
from spark_llm.worker.constraint import constraint_of
from spark_llm.worker.engine_traits import EngineTraits, traits_of
from spark_llm.worker.planning import WindowPlanner
from spark_llm.worker.priority import GroupPriority, monotonic_us
from spark_llm.worker.profile import profile_of
from spark_llm.worker.questions import Questions
from spark_llm.worker.reasoning import modes_of, reasoning_of
from spark_llm.worker.result import ResultWriter
from spark_llm.worker.scalar import Invalid
from spark_llm.worker.zone import zone_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from concurrent.futures import Future

    import pyarrow as pa

    from spark_llm.conf import Conf
    from spark_llm.engine.types import EngineAnswer
    from spark_llm.planner import RowOrder
    from spark_llm.worker.command import Call
    from spark_llm.worker.dedup import Slot
    from spark_llm.worker.planning import Planned
    from spark_llm.worker.questions import Batch, Question

# Requests handed to the client together: enough to cost little each, few enough to keep the engine busy while
# others are waited for.
MOST_SLICE: Final = 256


@dataclass(slots=True, eq=False)
class Slice:
    """Questions under way, and the engine's answers to come; `answers` once they were taken."""

    asked: list[Question]
    future: Future[list[EngineAnswer]]
    answers: list[EngineAnswer] | None = None


class Flow:
    """The way of one task's rows; see the module.

    Args:
        call: what is asked.
        conf: checked settings.
        environ: where the executor's engine is.
        order_table: see `WindowPlanner`.
        now_us: see `GroupPriority`.
    """

    def __init__(
        self,
        call: Call,
        conf: Conf,
        environ: Mapping[str, str],
        order_table: Callable[..., RowOrder] | None = None,
        now_us: Callable[[], int] = monotonic_us,
    ) -> None:
        self._call, self._conf, self._environ = call, conf, environ
        modes = modes_of(call, conf)
        self._system = system_for(conf)
        self._questions = Questions(call, conf)
        self._planner = WindowPlanner(call, conf, order_table)
        self._parse = AnswerParser(call.return_type, zone_of(conf.time_zone), call.max_tokens)
        self._writer = ResultWriter(result_type(call.return_type))
        self._type_name = call.return_type.simpleString().upper()
        self._quoting = conf.flag("spark.llm.logPrompts.enabled")
        self._sampling = Sampling(
            call.model,
            call.temperature,
            call.max_tokens,
            call.seed,
            constraint_of(call.return_type),
            call.name,
            reasoning_of(modes),
        )
        self._auto = open_auto(call, conf, environ, modes, self._parse)
        auto, sampling = self._auto, self._sampling
        self._most_tokens = sampling.most_tokens if auto is None else auto.most_tokens(sampling)
        self._most_rows = conf.integer("spark.llm.planner.windowRows")
        self._most_bytes = conf.integer("spark.llm.planner.windowBytes")
        self._most_in_flight = conf.integer("spark.llm.maxInFlightRows")
        self._priority = GroupPriority(self._most_in_flight, now_us)
        # The first answers, and those that a LIMIT needs, come after one batch; then windows double.
        self._target_rows = 1
        self._held: deque[Batch] = deque()
        self._held_rows = self._held_bytes = 0
        self._window: list[Batch] = []
        self._new: list[Question] = []
        self._window_rows = self._window_bytes = 0
        self._unsent: deque[Planned] = deque()
        self._under_way: deque[Slice] = deque()
        self._done: SimpleQueue[Slice] = SimpleQueue()
        self._early: list[Question] = []
        self._in_flight = self._planned = self._answered = 0
        self._waited_s = 0.0
        self._engine: EngineTraits | None = None
        self._profile = profile_of(call, conf)
        self._gate = BudgetGate.open(conf, environ)

    @property
    def full(self) -> bool:
        """Whether an answer must come before more may be read."""
        if not self._under_way:
            return False
        most_rows = self._most_rows + max(self._most_rows, self._most_in_flight)
        return bool(self._unsent) or self._held_rows >= most_rows or self._held_bytes >= 2 * self._most_bytes

    @property
    def empty(self) -> bool:
        """Whether all rows that were read have been given back."""
        return not self._held

    def add(self, record_batch: pa.RecordBatch) -> None:
        """Takes a batch that has rows; plans the window when it is full."""
        batch, new = self._questions.read(record_batch)
        self._held.append(batch)
        self._held_rows += len(batch.slots)
        self._held_bytes += batch.bytes
        if batch.place >= 0:
            return  # nothing of it has to be planned
        self._window.append(batch)
        self._new += new
        self._window_rows += len(batch.slots)
        self._window_bytes += batch.bytes
        if self._window_rows >= self._target_rows or self._window_bytes >= self._most_bytes:
            self.close_window()

    def close_window(self) -> None:
        """Plans what was gathered and sends as much of it as may be in flight."""
        window, self._window = self._window, []
        questions, self._new = self._new, []
        if self._planner.reorders:
            self._target_rows = min(2 * self._window_rows, self._most_rows)
        self._window_rows = self._window_bytes = 0
        if questions:
            self._engine = self._engine or traits_of(self._conf, self._call.model)
            for request in self._planner.plan(questions, self._engine):
                self._planned += 1
                request.question.slot.place = self._planned
                self._unsent.append(request)
        for batch in window:
            batch.look()
        self._send()

    def wait(self) -> None:
        """Waits until a slice is answered and sends what there is room for."""
        started = time.monotonic()
        done = self._done.get()
        self._waited_s += time.monotonic() - started
        self._take(done)
        self._send()

    def give_back(self) -> Iterator[pa.RecordBatch]:
        """Yields what is to be kept before its turn, then the oldest batches, as far as they are done."""
        while not self._done.empty():
            self.wait()
        done: list[Batch] = []
        while self._held and 0 <= self._held[0].place <= self._answered:
            batch = self._held.popleft()
            batch.given_back = True
            self._held_rows -= len(batch.slots)
            self._held_bytes -= batch.bytes
            done.append(batch)
        early, self._early = [each for each in self._early if not each.batch.given_back], []
        if early:
            yield self._writer.write_early(early)
        for left, batch in zip(range(len(done) - 1, -1, -1), done, strict=True):
            waited_ms, self._waited_s = round(self._waited_s * 1000), 0.0
            last = not left and not self._held
            profile = self._profile.take(last=last) if self._profile else None
            yield self._writer.write(batch.slots, batch.answers, waited_ms, profile)

    def cancel(self) -> None:
        """Drops what is under way: nobody waits for it."""
        for each in self._under_way:
            each.future.cancel()

    def close(self) -> None:
        """Tells what was spent; after the last row, or after `cancel`."""
        if self._auto is not None:
            self._auto.close()
        if self._gate is not None:
            self._gate.close()

    def _send(self) -> None:
        most = min(MOST_SLICE, max(1, self._most_in_flight // 4))
        while self._unsent:
            count = min(most, len(self._unsent))
            if self._in_flight + count > self._most_in_flight:
                return
            taken = [self._unsent.popleft() for _ in range(count)]
            if self._gate is None:
                self._submit(taken, self._requests(taken))
            elif not self._submit_within_budget(taken, self._gate):
                return  # something under way is waited for, then this is asked again

    def _submit(
        self, taken: list[Planned], requests: list[EngineRequest]
    ) -> list[Future[list[EngineAnswer]]]:
        # The engine is reached for the first question only: a partition without one needs none.
        client = self._auto or clients.client_for(self._conf, self._environ)
        size = self._engine.kept_slice if self._call.kept and self._engine is not None else len(requests)
        futures = []
        for at in range(0, len(requests), size):
            futures.append(client.submit(requests[at : at + size], self._sampling))
            self._sent(taken[at : at + size], futures[-1])
        return futures

    def _sent(self, taken: list[Planned], future: Future[list[EngineAnswer]]) -> None:
        sent = Slice([each.question for each in taken], future)
        self._under_way.append(sent)
        self._in_flight += len(taken)
        if self._profile:
            self._profile.sent(taken)
        future.add_done_callback(lambda _: self._done.put(sent))

    def _submit_within_budget(self, taken: list[Planned], gate: BudgetGate) -> bool:
        """Sends as many as the budget allows at the moment and puts the others back; False: none for now."""
        requests = self._requests(taken) if gate.exceeded is None else []
        lease = gate.lease(requests, self._most_tokens, wait=not self._under_way)
        if gate.exceeded is not None:
            self._sent(taken, gate.unanswered(len(taken)))
            return True
        count = 0 if lease is None else lease.requests
        self._unsent.extendleft(reversed(taken[count:]))
        if lease is None:
            return False
        gate.sent(lease, self._submit(taken[:count], requests[:count]))
        return True

    def _requests(self, taken: list[Planned]) -> list[EngineRequest]:
        system, rank = self._system, self._priority.of
        moved = self._engine is not None and self._engine.mode != "shared"
        requests = []
        for each in taken:
            question, user = each.question, each.user
            # Rows that were moved away from their group are served where they were put.
            place = rank(question.slot.place if moved else each.group)
            requests.append(EngineRequest(system, user, place, each.window, each.uses, label=question.label))
            if self._call.provenance:
                question.slot.prompt_hash = prompt_hash(system, user)
        return requests

    def _take(self, done: Slice) -> None:
        """Fills the slots of a slice that is done, in whatever order slices are."""
        asked = done.asked
        try:
            answers = done.future.result()
        except Exception as error:
            clients.forget(self._conf, self._environ)
            if isinstance(error, SparkLLMError):
                raise
            raise engine_failed(f"{type(error).__name__}: {error}") from error
        if len(answers) != len(asked):
            raise engine_failed(f"{len(asked)} prompts were sent and {len(answers)} answers came back")
        refused = False
        for question, answer in zip(asked, answers, strict=True):
            if answer.condition != EXCEEDED:
                question.batch.answers[question.row] = answer
            self._fill(question.slot, answer)
            refused = refused or answer.condition is not None
            if self._call.kept and question.slot.condition is None:
                self._early.append(question)
        self._in_flight -= len(asked)
        done.answers = answers
        while self._under_way and (oldest := self._under_way[0].answers) is not None:
            self._under_way.popleft()
            self._answered += len(oldest)
            if self._profile:
                self._profile.answered(oldest)
        if refused:
            self._questions.forget_failed()

    def _fill(self, slot: Slot, answer: EngineAnswer) -> None:
        if self._call.provenance:
            slot.reasoning, slot.model = "on" if answer.reasoned else "off", int(answer.costly)
        if answer.condition is not None or answer.text is None:
            slot.condition, slot.message = answer.condition or "LLM_REQUEST_REJECTED", answer.message
            if answer.condition == EXCEEDED:
                slot.prompt_hash = None  # nobody was asked
            return
        try:
            if answer.thinking_cut and not answer.text.strip():
                raise Invalid(
                    f"its thinking was cut off after {answer.thinking_tokens} tokens, before the answer; "
                    "raise reasoning_budget => or spark.llm.reasoning.maxThinkingLen"
                )
            slot.value = self._parse(answer.text, answer.finish_reason)
        except Invalid as reason:
            why = reason.text(quoting=self._quoting)
            error = output_invalid(self._type_name, answer.text, why, quoting=self._quoting)
            slot.condition, slot.message = error.condition, error.message
