"""`reasoning => 'auto'`, `models => 'small,large'`: an engine client that gives each prompt what pays.

    requests ─► pilot, once a query     50 to 300 rows in both modes, by the task that claims it (see `shelf`)
             ─► Fitted                  the whole query off or on, or:
             ─► off, with figures ─► router: gain per token, within the budget ─► on, for the rows it chooses
    answers ◄── in the order of requests: the second where there is one, else the first

Off and on are the two modes of a model, or the small and the large model (see `models`).
A row whose second pass fails keeps its first answer. Of the others 1 % is asked in both modes: where the
router's expectation no longer holds, the pilot runs anew.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from spark_llm.errors import SparkLLMError
from spark_llm.router import Audit, Signals
from spark_llm.router.audit import audited
from spark_llm.worker.first_pass import row_text, signals_of
from spark_llm.worker.fitted import Fitted
from spark_llm.worker.models import Arm
from spark_llm.worker.pilot_pass import FEWEST_AT_THE_END, PilotPass
from spark_llm.worker.shelf import MINE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from spark_llm.engine.types import EngineAnswer, EngineClient, EngineRequest, Reasoning, Sampling
    from spark_llm.router import Budget, Router, Stream
    from spark_llm.router.policies import Policy
    from spark_llm.worker.first_pass import AnswerReader
    from spark_llm.worker.shelf import Shelf

_log = logging.getLogger(__name__)
SAMPLES: Final = 2
_TEMPERATURE: Final = 0.7
_SEED: Final = 1
_AT_ONCE: Final = 8
_ASK_AGAIN_S: Final = 0.2
_MOST_WAITS: Final = 10
_ROOM: Final = 2


@dataclass(frozen=True, slots=True)
class AutoSettings:
    """What the user says about `auto`.

    Attributes:
        policy: who decides.
        budget: of the query, beyond what its rows take without thinking.
        rows: of the query, where known.
        shape: name of the query shape.
        remembered: what an earlier run has fitted, as JSON.
        published: the policy semantic_router, which needs no pilot.
    """

    policy: str = "cascade"
    budget: Budget | None = None
    rows: int | None = None
    shape: str = ""
    remembered: str | None = None
    published: Policy | None = None


class AutoClient:
    """An `EngineClient` over another one, for the prompts of one task and call.

    Args:
        client: who answers, asked for each submit, as a failed one is replaced.
        off: what requests without thinking say; an `Arm`: those to the cheap model.
        on: what requests with thinking say; an `Arm`: those to the costly model.
        reader: of the call's answers.
        shelf: where the fitted router is shared.
        settings: see there.
        sleep: waits for another task's pilot; injectable for tests.
    """

    def __init__(
        self,
        client: Callable[[], EngineClient],
        off: Reasoning,
        on: Reasoning,
        reader: AnswerReader,
        shelf: Shelf,
        settings: AutoSettings,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client, self._reader, self._shelf, self._settings = client, reader, shelf, settings
        self._off, self._on = replace(off, figures=True), on
        self._sleep = sleep
        self._deciding, self._choosing = threading.Lock(), threading.Lock()
        self._fitted: Fitted | None = None
        self._stream: Stream | None = None
        self._audit: Audit | None = None
        self._pilot: PilotPass | None = None
        self._piloted_rows, self._piloted_tokens = 0, 0.0
        self._text: str | None = None
        self._outdated: str | None = None
        self._threads = ThreadPoolExecutor(_AT_ONCE, "spark-llm-auto")

    def submit(self, requests: Sequence[EngineRequest], sampling: Sampling) -> Future[list[EngineAnswer]]:
        """See `EngineClient.submit`; `sampling.reasoning` is chosen here."""
        answers: Future[list[EngineAnswer]] = Future()
        job = _Job(self._client(), list(requests), sampling, answers)
        self._threads.submit(self._run, job)
        return answers

    def most_tokens(self, sampling: Sampling) -> int:
        """Returns what a row may generate at most: one of the pilot is asked in both modes, and again."""
        thinking = replace(sampling, reasoning=self._on).most_tokens
        return sampling.most_tokens + SAMPLES * thinking

    def close(self) -> None:
        """Fits what was gathered if that will do, or ends the claim; what is under way ends by itself."""
        if self._fitted is None and self._settings.published is None:
            # The driver ends what is not ended here, and a task is not to fail for it.
            with contextlib.suppress(SparkLLMError):
                if self._pilot is not None and self._pilot.gathered >= FEWEST_AT_THE_END:
                    self._put(self._pilot)
                else:
                    self._shelf.give_up()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _run(self, job: _Job) -> None:
        try:
            found = self._answers(job)
        except CancelledError:
            job.answers.cancel()
        except BaseException as error:  # noqa: BLE001  whatever it is belongs to whoever waits
            if not job.answers.cancelled():
                job.answers.set_exception(error)
        else:
            if job.answers.set_running_or_notify_cancel():
                job.answers.set_result(found)

    def _answers(self, job: _Job) -> list[EngineAnswer]:
        if self._settings.published is not None:
            texts = [request.user for request in job.requests]
            scores = self._settings.published.scores(Signals(rows=len(texts), prompts=texts))
            return self._once(job, job.requests, [bool(each) for each in scores > 0])
        piloted: dict[int, EngineAnswer] = {}
        with self._deciding:
            # Read once: an audit of another slice may take it back at any time.
            fitted = self._fitted
            if fitted is None:
                piloted = self._decide(job)
                fitted = self._fitted
        # Too few rows for a pilot were asked in both modes, or not at all while another task is at it.
        rest = [row for row in range(len(job.requests)) if row not in piloted]
        if rest and fitted is None:
            first = self._first(job, [job.requests[row] for row in rest], figures=False)
            piloted |= dict(zip(rest, first, strict=True))
        elif rest and fitted is not None:
            piloted |= dict(zip(rest, self._route(job, rest, fitted), strict=True))
        return [piloted[row] for row in range(len(job.requests))]

    def _route(self, job: _Job, rows: list[int], fitted: Fitted) -> list[EngineAnswer]:
        """Answers rows as the fitted router says, and audits some of them."""
        requests = [job.requests[row] for row in rows]
        if fitted.by_text is not None:
            texts = [row_text(request) for request in requests]
            return self._once(job, requests, fitted.by_text.choose(texts, self._settings.budget))
        checked = [audited(row_text(request)) for request in requests]
        if fitted.choice == "on":
            first = job.ask(requests, self._on)
            some = [row for row, yes in enumerate(checked) if yes]
            second = self._first(job, [requests[row] for row in some], figures=False) if some else []
            self._agree(fitted, [(first[row], answer) for row, answer in zip(some, second, strict=True)])
            for row, answer in zip(some, second, strict=True):
                first[row] = merged(answer, first[row])
            return first
        first = self._first(job, requests, figures=fitted.router is not None)
        chosen = [False] * len(rows)
        if fitted.router is not None:
            signals = signals_of(requests, first, [self._reader.answer(each) for each in first])
            with self._choosing:
                stream = self._stream = self._stream or self._new_stream(fitted.router)
                chosen = [bool(each) for each in stream.choose(signals)]
        again = [
            row for row, yes in enumerate(chosen) if (yes or checked[row]) and first[row].condition is None
        ]
        if not again:
            return first
        second = job.ask([requests[row] for row in again], self._second(fitted))
        if fitted.router is not None:
            routed = [place for place, row in enumerate(again) if chosen[row]]
            expected = fitted.router.expected(
                signals.take([again[place] for place in routed])
            ).extra_tokens.sum()
            took = sum(second[place].generated_tokens for place in routed)
            with self._choosing:
                stream.measured(float(expected), float(took), len(routed))
        self._agree(
            fitted, [(first[row], answer) for row, answer in zip(again, second, strict=True) if checked[row]]
        )
        for row, answer in zip(again, second, strict=True):
            first[row] = merged(first[row], answer) if chosen[row] else merged(answer, first[row])
        return first

    def _once(self, job: _Job, requests: list[EngineRequest], think: list[bool]) -> list[EngineAnswer]:
        """Asks each row in its mode, once."""
        found: dict[int, EngineAnswer] = {}
        for on, reasoning in ((False, self._off), (True, self._on)):
            rows = [row for row, yes in enumerate(think) if yes == on]
            answers = job.ask([requests[row] for row in rows], reasoning) if rows else []
            found |= dict(zip(rows, answers, strict=True))
        return [found[row] for row in range(len(requests))]

    def _agree(self, fitted: Fitted, pairs: list[tuple[EngineAnswer, EngineAnswer]]) -> None:
        """Counts audited rows on which both modes agree; where that has fallen, a pilot is due."""
        whole = [pair for pair in pairs if not any(each.thinking_cut for each in pair)]
        with self._choosing:
            if self._fitted is not fitted:
                return
            audit = self._audit = self._audit or Audit(fitted.agreed, fitted.rows - fitted.cut_rows)
            audit.add(sum(self._reader.answer(a) == self._reader.answer(b) for a, b in whole), len(whole))
            if audit.look():
                _log.warning("%s", audit.reason())
                self._outdated, self._fitted, self._stream, self._audit = self._text, None, None, None

    def _second(self, fitted: Fitted) -> Reasoning:
        """Thinking for chosen rows: with room beyond what most of the pilot took, within the call's."""
        limit, usual = self._on.budget_tokens, fitted.thinking_tokens
        if usual is None or limit is None or isinstance(self._on, Arm):
            return self._on
        return replace(self._on, budget_tokens=min(limit, _ROOM * usual))

    def _first(self, job: _Job, requests: list[EngineRequest], *, figures: bool) -> list[EngineAnswer]:
        """The pass without thinking; who refuses to tell log-probabilities is not asked for them again."""
        found = job.ask(requests, replace(self._off, figures=figures and self._off.figures))
        if self._off.figures and all(map(_about_figures, found)):
            self._off = replace(self._off, figures=False)
            return job.ask(requests, self._off)
        return found

    def _decide(self, job: _Job) -> dict[int, EngineAnswer]:
        """Finds what is fitted, or goes on with the pilot: then some rows are answered already.

        A few rows do not wait long for another's pilot: where all tasks have few, none gets to the end of
        one, and each would wait for all others.
        """
        remembered, waits = self._settings.remembered, 0
        while True:
            text = remembered if remembered not in {None, self._outdated} else self._shelf.claim()
            if text is MINE or (text is not None and text == self._outdated):
                return self._ask_pilot(job)
            if text is None:
                if waits == _MOST_WAITS and len(job.requests) < FEWEST_AT_THE_END:
                    return {}
                waits += 1
                self._sleep(_ASK_AGAIN_S)
                if job.answers.cancelled():
                    raise CancelledError
                continue
            try:
                self._text, self._fitted = text, Fitted.from_json(text)
            except ValueError as error:
                _log.warning("what an earlier run has fitted cannot be used: %s", error)
                self._outdated = text
                continue
            return {}

    def _ask_pilot(self, job: _Job) -> dict[int, EngineAnswer]:
        """Asks rows of the job in both modes, and fits the router when they are enough."""
        pilot = self._pilot = self._pilot or self._new_pilot()
        rows = pilot.pick(job.requests)
        requests = [job.requests[row] for row in rows]
        cheap = self._first(job, requests, figures=True)
        thought = job.ask(requests, self._on)
        again = pilot.in_doubt(requests, cheap, thought)
        drawn = job.ask(
            [requests[place] for place in again], self._on, temperature=_TEMPERATURE, seed=_SEED
        ) if again else []  # fmt: skip
        draws = dict(zip(again, drawn, strict=True))
        pilot.add(requests, cheap, thought, draws)
        self._piloted_rows += len(rows)
        self._piloted_tokens += sum(each.generated_tokens for each in (*thought, *drawn))
        # Both answers are paid for: the one that the decision would have taken is given.
        think = self._put(pilot)[-len(rows) :] if pilot.enough else [True] * len(rows)
        found = {}
        for place, row in enumerate(rows):
            first, second = cheap[place], thought[place]
            kept = merged(first, second) if think[place] else merged(second, first)
            # The other draw was made hot, to say who is right: it is no answer.
            found[row] = charged(kept, draws[place]) if place in draws else kept
        return found

    def _put(self, pilot: PilotPass) -> list[bool]:
        self._fitted, think = pilot.fit()
        self._text, self._pilot = self._fitted.to_json(), None
        self._shelf.put(self._text)
        return think

    def _new_stream(self, router: Router) -> Stream:
        """What the pilot took belongs to the query's budget, as its rows belong to the query."""
        stream = router.stream(self._settings.budget, rows=self._settings.rows)
        stream.seen_rows = self._piloted_rows
        stream.measured(self._piloted_tokens, self._piloted_tokens, self._piloted_rows)
        return stream

    def _new_pilot(self) -> PilotPass:
        of = self._settings
        # What the large model generates is paid in full: nothing of the small one's answer is of use to it.
        whole = isinstance(self._on, Arm)
        return PilotPass(self._reader, of.policy, of.shape, of.budget, of.rows, whole_cost=whole)


class _Job:
    """One submit under way: its requests, and the inner future that a cancellation takes along."""

    def __init__(
        self,
        client: EngineClient,
        requests: list[EngineRequest],
        sampling: Sampling,
        answers: Future[list[EngineAnswer]],
    ) -> None:
        self._client, self.requests, self._sampling, self.answers = client, requests, sampling, answers
        self._inner: Future[list[EngineAnswer]] | None = None
        answers.add_done_callback(self._ended)

    def ask(
        self,
        requests: list[EngineRequest],
        reasoning: Reasoning,
        *,
        temperature: float | None = None,
        seed: int | None = None,
    ) -> list[EngineAnswer]:
        """Asks and waits.

        Raises:
            CancelledError: nobody waits for the answers any more.
        """
        if self.answers.cancelled():
            raise CancelledError
        sampling = replace(self._sampling, reasoning=reasoning)
        if isinstance(reasoning, Arm):
            sampling = replace(sampling, model=reasoning.model)
        if temperature is not None:
            sampling = replace(sampling, temperature=temperature, seed=seed)
        self._inner = self._client.submit(requests, sampling)
        answers = self._inner.result()
        if isinstance(reasoning, Arm) and reasoning.costly:
            return [replace(each, costly=True, costly_tokens=each.generated_tokens) for each in answers]
        return answers

    def _ended(self, answers: Future[list[EngineAnswer]]) -> None:
        if answers.cancelled() and self._inner is not None:
            self._inner.cancel()


def merged(first: EngineAnswer, second: EngineAnswer) -> EngineAnswer:
    """Returns the second answer, with what both have cost; the first where the second is a failure.

    An answer after thinking that was cut off is one: nobody knows what the whole thought would have said.
    """
    failed = second.condition is not None or (second.thinking_cut and first.condition is None)
    return charged(first, second) if failed else charged(second, first)


def charged(kept: EngineAnswer, other: EngineAnswer) -> EngineAnswer:
    """Returns an answer with what another pass has cost; its own text and what is said of that stay."""
    return replace(
        kept,
        passes=kept.passes + other.passes,
        other_thinking_cut=kept.other_thinking_cut or other.thinking_cut or other.other_thinking_cut,
        unasked_thinking=kept.unasked_thinking or other.unasked_thinking,
        prompt_tokens=kept.prompt_tokens + other.prompt_tokens,
        cached_prompt_tokens=kept.cached_prompt_tokens + other.cached_prompt_tokens,
        generated_tokens=kept.generated_tokens + other.generated_tokens,
        thinking_tokens=kept.thinking_tokens + other.thinking_tokens,
        costly_tokens=kept.costly_tokens + other.costly_tokens,
        retries=kept.retries + other.retries,
    )


def _about_figures(answer: EngineAnswer) -> bool:
    return answer.condition == "LLM_REQUEST_REJECTED" and "logprob" in (answer.message or "")
