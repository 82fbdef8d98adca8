"""How many of the engine's blocks may be used now: between what is near and what the host adds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

MAX_STALL_SHARE: Final = 0.02
"""More of a window waited for copies, and the cap is cut."""
STEP: Final = 1 / 32
"""Of the blocks between the bounds, by which it is raised."""
CUT: Final = 0.85
"""Of the blocks above the lower bound, that a cut leaves at most."""
MAX_HOLD_WINDOWS: Final = 64


@dataclass(slots=True)
class AdmissionCap:
    """Additive increase, multiplicative decrease by the share of a window that was waited for copies.

    Fewer blocks in use are fewer bytes to move, so the cap follows the link within a query, where a layout
    cannot. It only ever stops new rows: rows in flight finish, and no answer changes.

    Copies take time in proportion to the blocks above `min_blocks`, so a cut leaves as many as the time that
    was not waited allows. After a cut it waits before it rises again, twice as long each time that it is cut
    soon after, up to 64 windows: a link that has no room is not tried for ever.

    Attributes:
        min_blocks: that move nothing; the cap is never lower.
        max_blocks: that are there.
        blocks: that may be used now; 0 to begin with all.

    Raises:
        ValueError: `min_blocks` is not between 1 and `max_blocks`.
    """

    min_blocks: int
    max_blocks: int
    blocks: int = 0
    _hold: int = field(default=0, repr=False)
    _next_hold: int = field(default=1, repr=False)

    def __post_init__(self) -> None:
        """Checks the bounds."""
        if not 1 <= self.min_blocks <= self.max_blocks:
            raise ValueError(f"min_blocks is {self.min_blocks}; allowed: 1 to max_blocks={self.max_blocks}")
        self.blocks = min(max(self.blocks or self.max_blocks, self.min_blocks), self.max_blocks)

    @property
    def _step(self) -> int:
        return max(int((self.max_blocks - self.min_blocks) * STEP), 1)

    def update(self, used_blocks: int, stall_s: float, seconds: float) -> int:
        """Takes a window of steps and returns the blocks that may be used in the next.

        Args:
            used_blocks: most that were in use; the cap is raised only where it was what limited.
            stall_s: waited for copies.
            seconds: of the window, stalls included.
        """
        if seconds <= 0:
            return self.blocks
        stall_share = stall_s / seconds
        if stall_share > MAX_STALL_SHARE:
            above = max(min(self.blocks, used_blocks) - self.min_blocks, 0)
            self.blocks = self.min_blocks + int(above * min(CUT, 1 - stall_share))
            self._hold, self._next_hold = self._next_hold, min(2 * self._next_hold, MAX_HOLD_WINDOWS)
        elif self._hold:
            self._hold -= 1
        elif used_blocks >= self.blocks - self._step and self.blocks < self.max_blocks:
            self.blocks = min(self.blocks + self._step, self.max_blocks)
            self._next_hold = max(self._next_hold // 2, 1)
        return self.blocks
