"""A simulated link: at most one copy each way, both slower while both move."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spark_llm.costmodel.link import Link
    from spark_llm.pie.rotate import Copy


class Streams:
    """Two copy streams with a clock.

    Args:
        link: their speeds.

    Attributes:
        now_s: the clock.
        busy_s: that the inbound stream was busy.
        moved_bytes: both ways.
    """

    def __init__(self, link: Link) -> None:
        self.link = link
        self.now_s = 0.0
        self.busy_s = 0.0
        self.moved_bytes = 0.0
        # Seconds left if the other stream is idle.
        self._left: dict[Copy, float] = {}

    def start(self, copy: Copy, copied_bytes: float, slowness: float = 1.0) -> None:
        """Starts a copy.

        Args:
            copy: which.
            copied_bytes: its size.
            slowness: of this copy against the link's speed.

        Raises:
            ValueError: a copy of the same direction is under way.
        """
        if any(other.inbound == copy.inbound for other in self._left):
            raise ValueError(f"{copy} started while the link is busy: {list(self._left)}")
        seconds = self.link.seconds(copied_bytes) if copy.inbound else self.link.seconds(0.0, copied_bytes)
        self._left[copy] = seconds * slowness
        self.moved_bytes += copied_bytes

    def next_end_s(self) -> float | None:
        """Returns when the next copy will have ended; None: none is under way."""
        return self.now_s + min(self._left.values()) / self._speed() if self._left else None

    def advance(self, to_s: float) -> list[Copy]:
        """Moves the clock, at most to the next end, and returns the copies that have ended by then."""
        passed_s, speed = to_s - self.now_s, self._speed()
        self.now_s = to_s
        for copy in self._left:
            self._left[copy] -= passed_s * speed
            if copy.inbound:
                self.busy_s += passed_s
        ended = [copy for copy, left_s in self._left.items() if left_s <= 1e-12]
        for copy in ended:
            del self._left[copy]
        return ended

    def _speed(self) -> float:
        return self.link.duplex_share if len(self._left) > 1 else 1.0
