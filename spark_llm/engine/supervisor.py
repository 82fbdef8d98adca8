"""Keeping one engine running: start, wait until it answers, watch, start again; pure of processes and clocks.

    starting ──answers──► ready ──exits, or answers no more──► restarting ──(1, 2, 4 … 30 s)──► starts again
        │ exits, or does not answer in time   or takes no step     │ three starts in a row never answered,
        │                                                          │ or the second had too little memory too
        └─────────────────────────────────────────────► restarting ┴─► failed

A wish to stop is obeyed in any state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

from spark_llm.engine.diagnosis import USAGE_ERROR, diagnose, wants_too_much
from spark_llm.errors import SparkLLMError

if TYPE_CHECKING:
    from collections.abc import Callable

    from spark_llm.engine.state import Phase

FIRST_BACKOFF_S = 1.0
LONGEST_BACKOFF_S = 30.0
MOST_FAILED_STARTS = 3
# An engine that answered for this long was well; the next failure starts the back-off anew.
WELL_AFTER_S = 60.0
PROBE_EVERY_S = 0.25
WATCH_EVERY_S = 1.0
# A vLLM that was asked to stop while it had work may neither answer nor exit. Refused probes fail at once,
# those of an overloaded server take a while each: it is given that much longer.
HUNG_AFTER_PROBES = 20
_GRACE_S = 3.0

_Outcome = Literal["ready", "exited", "late", "hung", "stalled", "stopped"]


class Engine(Protocol):
    """What a started engine must be able to do; `EngineProcess` does it for real."""

    pid: int

    def poll(self) -> int | None:
        """The exit status, None while it runs."""
        ...

    def stop(self, grace_s: float) -> None:
        """Ends it and everything it started."""
        ...


class Clock(Protocol):
    """Time, and a sleep that a wish to stop interrupts."""

    def now(self) -> float:
        """Monotonic seconds."""
        ...

    def sleep(self, seconds: float) -> bool:
        """Sleeps; True as soon as the supervisor shall stop."""
        ...


class Supervisor:
    """Runs one engine until told to stop, or until it cannot be started.

    Args:
        spawn: starts an engine.
        answers: whether the engine answers requests.
        publish: told each change: phase, process id, failure, number of starts.
        log_tail: the last lines of the engine's log.
        log: path of that log, for messages.
        start_timeout_s: how long a start may take.
        clock: see `Clock`.
        stalled: whether the engine has requests and took no step for too long.
        use_less: makes the next engine take less memory; False when that was done already.
    """

    def __init__(  # noqa: PLR0913  all of the outside world, by name
        self,
        *,
        spawn: Callable[[], Engine],
        answers: Callable[[], bool],
        publish: Callable[[Phase, int | None, SparkLLMError | None, int], None],
        log_tail: Callable[[], str],
        log: str,
        start_timeout_s: float,
        clock: Clock,
        stalled: Callable[[], bool] = lambda: False,
        use_less: Callable[[], bool] = lambda: False,
    ) -> None:
        self._stalled = stalled
        self._use_less = use_less
        self._spawn = spawn
        self._answers = answers
        self._publish = publish
        self._log_tail = log_tail
        self._log = log
        self._start_timeout_s = start_timeout_s
        self._clock = clock
        self._starts = 0

    def run(self) -> int:
        """Returns the exit status: 0 when stopped, 1 when the engine cannot be started."""
        failed_starts, backoff = 0, FIRST_BACKOFF_S
        while True:
            outcome, status, was_ready, well = self._life()
            if outcome == "stopped":
                return self._stopped()
            failed_starts = 0 if was_ready else failed_starts + 1
            error, smaller = self._diagnosis(outcome, status, was_ready=was_ready)
            if smaller:
                failed_starts = 0
            elif failed_starts >= MOST_FAILED_STARTS or (not was_ready and _hopeless(status, error)):
                self._publish("failed", None, error, self._starts)
                return 1
            if well:
                backoff = FIRST_BACKOFF_S
            self._publish("restarting", None, error, self._starts)
            if self._clock.sleep(backoff):
                return self._stopped()
            backoff = min(2 * backoff, LONGEST_BACKOFF_S)

    def _diagnosis(
        self, outcome: _Outcome, status: int | None, *, was_ready: bool
    ) -> tuple[SparkLLMError, bool]:
        """What ended the engine, and whether the next one takes less memory for it."""
        tail = self._log_tail()
        error = diagnose(outcome, status, self._start_timeout_s, tail, self._log)
        return error, not was_ready and wants_too_much(tail) and self._use_less()

    def _life(self) -> tuple[_Outcome, int | None, bool, bool]:
        """One engine from start to end: how it ended, its exit status, was it ever ready, and for long."""
        self._starts += 1
        engine = self._spawn()
        ready_at: float | None = None
        try:
            self._publish("starting" if self._starts == 1 else "restarting", engine.pid, None, self._starts)
            outcome = self._until_ready(engine)
            if outcome == "ready":
                ready_at = self._clock.now()
                self._publish("ready", engine.pid, None, self._starts)
                outcome = self._until_exit(engine)
            status = engine.poll()
        finally:
            engine.stop(_GRACE_S)
        well = ready_at is not None and self._clock.now() - ready_at >= WELL_AFTER_S
        return outcome, status, ready_at is not None, well

    def _until_ready(self, engine: Engine) -> _Outcome:
        end = self._clock.now() + self._start_timeout_s
        while engine.poll() is None:
            if self._answers():
                return "ready"
            if self._clock.now() >= end:
                return "late"
            if self._clock.sleep(PROBE_EVERY_S):
                return "stopped"
        return "exited"

    def _until_exit(self, engine: Engine) -> _Outcome:
        failed = 0
        while engine.poll() is None:
            failed = 0 if self._answers() else failed + 1
            if failed >= HUNG_AFTER_PROBES:
                return "hung"
            if self._stalled():
                return "stalled"
            if self._clock.sleep(WATCH_EVERY_S):
                return "stopped"
        return "exited"

    def _stopped(self) -> int:
        self._publish("stopped", None, None, self._starts)
        return 0


def _hopeless(status: int | None, error: SparkLLMError) -> bool:
    # Wrong arguments stay wrong, a model that does not exist will not appear, nor will memory.
    return status == USAGE_ERROR or error.condition in {"LLM_MODEL_NOT_FOUND", "LLM_OUT_OF_DEVICE_MEMORY"}
