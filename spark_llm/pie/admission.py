"""How many of the engine's blocks may be used now: between what is near and what the host adds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

MAX_STALL_SHARE: Final = 0.02
"""More of a window waited for copies, and the cap is cut."""
STEP: Final = 1 / 32
"""Of the blocks between the bounds, by which it is raised."""
CUT: Final = 0.85
"""Of the blocks above the lower bound, that a cut leaves at most where copies are not timed."""
MAX_HOLD_WINDOWS: Final = 64
SOON_WINDOWS: Final = 4
"""That it rose before a cut; fewer, and it waits twice as long."""
MIN_MARGIN: Final = 0.7
"""Least share of the blocks that fit by the measured times, whatever was waited."""
_WEIGHT: Final = 0.25


@dataclass(slots=True)
class AdmissionCap:
    """Follows the link within a query, where a layout cannot: fewer blocks in use are fewer bytes to move.

    Copies take time in proportion to the blocks in use above `min_blocks`. Where that time is measured, the
    cap goes to the blocks whose copies take as long as the computation, times a margin that falls with each
    window that waited (a pass shorter than the average waits) and slowly rises again; growing, it at most
    doubles the blocks above. Where it is not, the cap rises by a 32nd and a cut leaves as many blocks as the
    time that was not waited allows; after a cut it waits before it rises, twice as long each time that it is
    cut soon after, up to 64 windows: a link that has no room is not tried for ever.

    It only ever stops new rows: rows in flight finish, and no answer changes.

    Attributes:
        min_blocks: that move nothing; the cap is never lower.
        max_blocks: that are there.
        blocks: that may be used now; 0: to begin with those that move nothing.

    Raises:
        ValueError: `min_blocks` is not between 1 and `max_blocks`.
    """

    min_blocks: int
    max_blocks: int
    blocks: int = 0
    _fit: float = field(default=0.0, repr=False)
    _margin: float = field(default=1.0, repr=False)
    _hold: int = field(default=0, repr=False)
    _last_hold: int = field(default=0, repr=False)
    _risen: int = field(default=0, repr=False)

    def __post_init__(self) -> None:
        """Checks the bounds."""
        if not 1 <= self.min_blocks <= self.max_blocks:
            raise ValueError(f"min_blocks is {self.min_blocks}; allowed: 1 to max_blocks={self.max_blocks}")
        self.blocks = min(max(self.blocks, self.min_blocks), self.max_blocks)

    def update(self, used_blocks: int, stall_s: float, seconds: float, copy_s: float | None = None) -> int:
        """Takes a window of steps and returns the blocks that may be used in the next.

        Args:
            used_blocks: most that were in use; the cap is raised only where it was what limited.
            stall_s: waited for copies.
            seconds: of the window, stalls included.
            copy_s: that the inbound stream was busy; None: not measured.
        """
        if seconds <= 0:
            return self.blocks
        stall_share, above = stall_s / seconds, max(used_blocks - self.min_blocks, 0)
        limited = used_blocks >= self.blocks - self._step
        if copy_s and above:
            self._follow(above, stall_share, (seconds - stall_s) / copy_s, limited=limited)
        elif stall_share > MAX_STALL_SHARE:
            above = min(above, self.blocks - self.min_blocks)
            self.blocks = self.min_blocks + int(above * min(CUT, 1 - stall_share))
            soon = self._last_hold and self._risen < SOON_WINDOWS
            self._hold = min(2 * self._last_hold, MAX_HOLD_WINDOWS) if soon else 1
            self._last_hold, self._risen = self._hold, 0
        elif self._hold:
            self._hold -= 1
        elif limited and self.blocks < self.max_blocks:
            self.blocks = min(self.blocks + self._step, self.max_blocks)
            self._risen += 1
        return self.blocks

    @property
    def _step(self) -> int:
        return max(int((self.max_blocks - self.min_blocks) * STEP), 1)

    def _follow(self, above: int, stall_share: float, room: float, *, limited: bool) -> None:
        """Goes to the blocks whose copies take as long as the computation.

        Args:
            above: blocks in use that move.
            stall_share: of the window.
            room: computing over copying seconds.
            limited: the cap was what limited the blocks in use.
        """
        waited, fit = stall_share > MAX_STALL_SHARE, min(above * room, self.max_blocks)
        if not self._fit or stall_share > 5 * MAX_STALL_SHARE:
            self._fit = fit
        else:
            self._fit += _WEIGHT * (fit - self._fit)
            self._margin += -stall_share if waited else (1 - self._margin) / 100
            self._margin = max(self._margin, MIN_MARGIN)
        target = self.min_blocks + int(self._fit * self._margin)
        highest = self.min_blocks + max(2 * above, self._step)
        if target < self.blocks if waited else limited:
            self.blocks = max(min(target, highest, self.max_blocks), self.min_blocks)
