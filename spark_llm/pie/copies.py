"""Copies in one direction: a queue, first in first out, and the thread that works it off.

submit(job, copy) ─► queue ─► thread: copy(), then as long as an emulated link would have taken
                       │         └─► finished() tells (job, outcome, seconds); wait(jobs) blocks
                       └─ drop(jobs) ─► not begun: finished, and nothing was copied
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(slots=True)
class Outcome:
    """What a copy did.

    Attributes:
        moved_bytes: that were copied and are good.
        bad: places of the far side whose bytes could not be kept, or are not what was kept.
        dropped: nothing was copied, as nobody would wait for it.
    """

    moved_bytes: int = 0
    bad: set[int] = field(default_factory=set)
    dropped: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """A copy that has ended, and how long it took."""

    job: int
    outcome: Outcome
    seconds: float


class CopyThread:
    """Works copies off in the order they came.

    Args:
        name: of the thread.
        link_s: seconds that a link would take for so many bytes; None copies as fast as it can.
        now_s: a clock.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        name: str,
        link_s: Callable[[int], float] | None = None,
        now_s: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._link_s, self._now_s, self._sleep = link_s, now_s, sleep
        self._queue: queue.SimpleQueue[tuple[int, Callable[[], Outcome]] | None] = queue.SimpleQueue()
        self._done: list[Done] = []
        self._pending: set[int] = set()
        self._unwanted: set[int] = set()
        self._running: int | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: int, copy: Callable[[], Outcome]) -> None:
        """Queues a copy, which must not raise."""
        with self._changed:
            self._pending.add(job)
        self._queue.put((job, copy))

    def finished(self) -> list[Done]:
        """What has ended since the last call, in order."""
        with self._changed:
            done, self._done = self._done, []
        return done

    def wait(self, jobs: Iterable[int], at_most_s: float | None = None) -> None:
        """Until none of these is queued or under way, or so many seconds."""
        wanted = set(jobs)
        with self._changed:
            self._changed.wait_for(lambda: self._pending.isdisjoint(wanted), at_most_s)

    def drop(self, jobs: Iterable[int]) -> None:
        """Those of them that have not begun are finished, and will not copy."""
        with self._changed:
            dropped = self._pending.intersection(jobs) - {self._running}
            self._pending -= dropped
            self._unwanted |= dropped
            self._done += [Done(job, Outcome(dropped=True), 0.0) for job in sorted(dropped)]
            self._changed.notify_all()

    def close(self) -> None:
        """Ends the thread behind what is queued."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (taken := self._queue.get()) is not None:
            job, copy = taken
            with self._changed:
                if job in self._unwanted:
                    self._unwanted.discard(job)
                    continue
                self._running = job
            began_s = self._now_s()
            outcome = copy()
            if self._link_s is not None:
                rest_s = self._link_s(outcome.moved_bytes) - (self._now_s() - began_s)
                if rest_s > 0:
                    self._sleep(rest_s)
            done = Done(job, outcome, self._now_s() - began_s)
            with self._changed:
                self._done.append(done)
                self._pending.discard(job)
                self._running = None
                self._changed.notify_all()
