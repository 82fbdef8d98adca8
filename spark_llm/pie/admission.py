"""How many of the engine's blocks may be used now: between what is near and what the host adds."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import NormalDist
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
WINDOW_STEPS: Final = 8
"""Of a window, as engines hand them over."""
WORTH: Final = 0.5
"""Of the rows that more blocks add, what is left as rows per second: they lengthen a step."""
_LEAST_WAITING: Final = 0.02
_MOST_CHANGE: Final = 0.25
_WEIGHT: Final = 0.25


@dataclass(slots=True)
class AdmissionCap:
    """Follows the link within a query, where a layout cannot: fewer blocks in use are fewer bytes to move.

    Copies take time in proportion to the blocks in use above `min_blocks`. Where that time is measured, the
    cap goes to the blocks whose copies take as long as the computation, less a margin for steps that are
    shorter than the average and wait: as many may wait as more blocks are worth, by the measured variation.
    Growing, it at most doubles the blocks above. Where that time is not measured, the cap rises by a 32nd and
    a cut leaves as many blocks as the time that was not waited allows; after a cut it waits before it rises,
    twice as long each time that it is cut soon after, up to 64 windows: a link that has no room is not tried
    for ever.

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
    _variance: float = field(default=0.0, repr=False)
    _last_used: int = field(default=0, repr=False)
    _last_fit: float = field(default=0.0, repr=False)
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
            fit = min(above * (seconds - stall_s) / copy_s, self.max_blocks)
            self._follow(used_blocks, fit, stall_share, limited=limited)
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

    def _follow(self, used_blocks: int, fit: float, stall_share: float, *, limited: bool) -> None:
        """Goes to the blocks whose copies take as long as the computation.

        Args:
            used_blocks: in use.
            fit: blocks above `min_blocks` of which that is true in this window.
            stall_share: of the window.
            limited: the cap was what limited the blocks in use.
        """
        waited, above = stall_share > MAX_STALL_SHARE, used_blocks - self.min_blocks
        if not self._fit or stall_share > 5 * MAX_STALL_SHARE:
            self._fit = fit
        else:
            self._fit += _WEIGHT * (fit - self._fit)
        if abs(used_blocks - self._last_used) <= self._step and self._last_fit:
            # Half of the squared difference of two windows alike is the variance of one.
            change = math.log(max(fit, 1.0) / max(self._last_fit, 1.0))
            change = max(-_MOST_CHANGE, min(change, _MOST_CHANGE))
            self._variance += _WEIGHT * (change * change / 2 - self._variance)
        self._last_used, self._last_fit = used_blocks, fit
        # Waiting steps cost the share of a step that copies of one more block take, over what a block adds.
        waiting = max(WORTH * above / used_blocks, _LEAST_WAITING)
        margin = 1 + NormalDist().inv_cdf(waiting) * math.sqrt(self._variance * WINDOW_STEPS)
        target = self.min_blocks + int(self._fit * max(margin, 0.0))
        highest = self.min_blocks + max(2 * above, self._step)
        if target < self.blocks if waited else limited:
            self.blocks = max(min(target, highest, self.max_blocks), self.min_blocks)
