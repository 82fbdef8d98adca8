"""How many of the engine's blocks may be used now: between what is near and what the host adds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

RAISE_SHARE: Final = 0.02
MIN_STEP_SHARE: Final = 1 / 32
CUT: Final = 0.85


@dataclass(slots=True)
class AdmissionCap:
    """Additive increase, multiplicative decrease by the share of a window that was waited for copies.

    Fewer blocks in use are fewer bytes to move, so the cap can follow the link within a query, where the
    layout cannot. It only ever stops new rows: rows in flight finish, and no answer changes.

    Attributes:
        min_blocks: that would be there with nothing away; never fewer.
        max_blocks: that are there with the layout as it is.
        blocks: that may be used now; starts at `max_blocks` if the layout was chosen for the link.

    Raises:
        ValueError: `min_blocks` is not between 1 and `max_blocks`.
    """

    min_blocks: int
    max_blocks: int
    blocks: int = 0

    def __post_init__(self) -> None:
        """Checks the bounds."""
        if not 1 <= self.min_blocks <= self.max_blocks:
            raise ValueError(f"min_blocks is {self.min_blocks}; allowed: 1 to max_blocks={self.max_blocks}")
        self.blocks = min(max(self.blocks or self.max_blocks, self.min_blocks), self.max_blocks)

    def update(self, used_blocks: int, stall_s: float, seconds: float) -> int:
        """Takes a window of steps and returns the blocks that may be used in the next.

        Args:
            used_blocks: most that were in use; the cap is raised only where it was what limited.
            stall_s: waited for copies.
            seconds: of the window, stalls included.
        """
        if seconds <= 0:
            return self.blocks
        if stall_s / seconds > RAISE_SHARE:
            # Blocks that are not in use move nothing: cutting begins at those that are.
            self.blocks = max(int(min(self.blocks, used_blocks) * CUT), self.min_blocks)
        elif used_blocks >= self.blocks * (1 - MIN_STEP_SHARE):
            step = max(int((self.max_blocks - self.min_blocks) * MIN_STEP_SHARE), 1)
            self.blocks = min(self.blocks + step, self.max_blocks)
        return self.blocks
