"""Circuit breaker of one endpoint: one that only fails is asked by one request at a time, then no more.

    closed ── 20 failures in a row ──► open, 1 s ──► half open: one request goes, the others wait
       ▲                                 ▲                │ it is answered: closed
       └─────────────────────────────────┼────────────────┤
                                         └── 2, 4 … 30 s ─┤ it fails
                                                          └─ the fifth that fails: given up

Pure: no request, no clock of its own. While it is open, no row uses up its retries.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

FAILURES_TO_OPEN = 20
_FIRST_OPEN_S = 1.0
_LONGEST_OPEN_S = 30.0
# How often those who wait for the outcome of the one request look again.
_LOOK_S = 0.05


class Breaker:
    """Decides when the next request may go to an endpoint.

    Args:
        most_probes: requests that may fail in half-open state before it gives up.
        now: monotonic seconds.

    Attributes:
        answered: requests that the endpoint answered; grows while it is well.
        reason: the last failure, in words.
    """

    def __init__(self, most_probes: int, now: Callable[[], float] = time.monotonic) -> None:
        self._most_probes = max(1, most_probes)
        self._now = now
        self._failures = 0
        self._probes = 0
        self._open_until: float | None = None
        self._probing = False
        self._paused_until = 0.0
        self.answered = 0
        self.reason = ""

    @property
    def given_up(self) -> bool:
        """Whether the endpoint counts as lost."""
        return self._probes >= self._most_probes

    @property
    def open(self) -> bool:
        """Whether one request at a time may go."""
        return self._open_until is not None

    def delay_s(self) -> float:
        """Seconds until the caller should ask again; 0: send now, and tell the outcome.

        The caller that gets 0 while `open` is its probe, and says so with the outcome.
        """
        now = self._now()
        if now < self._paused_until:
            return self._paused_until - now
        if self._open_until is None:
            return 0.0
        if now < self._open_until:
            return self._open_until - now
        if self._probing:
            return _LOOK_S
        self._probing = True
        return 0.0

    def pause(self, seconds: float) -> None:
        """Nothing is sent for so long: the endpoint asked for it, and it meant all requests."""
        self._paused_until = max(self._paused_until, self._now() + seconds)

    def succeeded(self) -> None:
        """The endpoint answered, whatever it said."""
        self.answered += 1
        self.alive()

    def alive(self) -> None:
        """The endpoint is there, but this was no answer (too many requests, say)."""
        self._failures = self._probes = 0
        self._open_until, self._probing = None, False

    def failed(self, reason: str, *, probe: bool = False) -> None:
        """The endpoint could not be reached, was too slow, or broke.

        Requests that were sent before it opened end later, and are no probes.
        """
        self.reason = reason
        self._failures += 1
        if self._open_until is None:
            if self._failures >= FAILURES_TO_OPEN:
                self._open_until = self._now() + _FIRST_OPEN_S
        elif probe:
            self._probing = False
            self._probes += 1
            wait_s = min(_FIRST_OPEN_S * float(2**self._probes), _LONGEST_OPEN_S)
            self._open_until = self._now() + wait_s

    def dropped(self, *, probe: bool) -> None:
        """The request ended without an outcome: it was cancelled, and the next one may probe."""
        if probe:
            self._probing = False

    def why(self) -> str:
        """What made it give up, for a message."""
        return f"{self._failures} requests in a row failed, the last one with: {self.reason}"
