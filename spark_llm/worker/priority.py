"""Places in the engine's queue: one per prefix group, earlier groups first."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def monotonic_us() -> int:
    """Returns microseconds of the machine's monotonic clock, which all its processes share."""
    return time.monotonic_ns() // 1000


class GroupPriority:
    """Priorities of one task's requests; lower is served first.

    A group's priority is the time at which its first row was sent, so groups of several tasks that share an
    engine are served in the order in which they began, each as a whole. A group that goes on for ever must
    not keep the others waiting: after `most_rows` rows it takes a new place. Times in microseconds fit the
    signed 64 bits that vLLM accepts for 292,000 years.

    Args:
        most_rows: rows that keep a place.
        now_us: monotonic microseconds, comparable between the processes of a machine.
    """

    def __init__(self, most_rows: int, now_us: Callable[[], int] = monotonic_us) -> None:
        self._most_rows = most_rows
        self._now_us = now_us
        self._group = -1
        self._rows = 0
        self._priority = 0

    def of(self, group: int) -> int:
        """Returns the priority of the next request.

        Args:
            group: id of its prefix group, 0 or more; equal ids must come one after the other.
        """
        if group != self._group or self._rows >= self._most_rows:
            # Groups that begin within one microsecond still keep their order.
            self._priority = max(self._now_us(), self._priority + 1)
            self._group, self._rows = group, 0
        self._rows += 1
        return self._priority
