"""The admission cap on a simulated engine in which only blocks beyond some swap, step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spark_llm.pie.admission import WINDOW_STEPS
from spark_llm.pie.simulate import exactly

if TYPE_CHECKING:
    from collections.abc import Callable

    from spark_llm.costmodel.link import Link
    from spark_llm.pie.admission import AdmissionCap
    from spark_llm.pie.ceiling import PassCost


@dataclass(slots=True)
class CapSimulation:
    """Rows wait without end, and have as many blocks as the cap lets them.

    All layers but the first take turns in slots, for the blocks beyond those that have a place in each layer;
    the copies of a layer hide behind the computation of another.

    Attributes:
        cost: of passes.
        cap: of blocks; its `min_blocks` move nothing.
        near_blocks: that the device would hold without swap.
        turnover: share of the blocks in use that rows let go in a window, at most: none is preempted.
        noise: factor of each pass's compute time and of its copies.
        timed: copies are timed.
        used_blocks: in use now.
    """

    cost: PassCost
    cap: AdmissionCap
    near_blocks: int
    turnover: float = 0.05
    noise: Callable[[], float] = exactly
    timed: bool = True
    used_blocks: int = 0

    def run(self, windows: int) -> tuple[float, float]:
        """Runs windows; returns rows (blocks times passes, over near blocks) and seconds."""
        rows = seconds = 0.0
        for _ in range(windows):
            least = int(self.used_blocks * (1 - self.turnover))
            self.used_blocks = max(self.cap.blocks, least)
            stall_s = window_s = copied_s = 0.0
            for _ in range(WINDOW_STEPS):
                compute_s, copy_s = self._pass_s()
                stall_s += max(copy_s - compute_s, 0.0)
                window_s += max(copy_s, compute_s)
                copied_s += copy_s
            self.cap.update(self.used_blocks, stall_s, window_s, copied_s if self.timed else None)
            rows += WINDOW_STEPS * self.used_blocks / self.near_blocks
            seconds += window_s
        return rows, seconds

    def _pass_s(self) -> tuple[float, float]:
        cost, full = self.cost, self.used_blocks / self.near_blocks
        read_bytes = cost.weights_bytes + full * cost.near_bytes
        compute_s = read_bytes / cost.device_bytes_per_s + cost.extra_s
        away = max(self.used_blocks - self.cap.min_blocks, 0) / self.near_blocks
        return compute_s * self.noise(), self._copy_s(cost.link, away) * self.noise()

    def _copy_s(self, link: Link, away: float) -> float:
        moved_bytes = away * self.cost.near_bytes / self.cost.layers
        if not moved_bytes:
            return 0.0
        return (self.cost.layers - 1) * link.seconds(moved_bytes, self.cost.written_share * moved_bytes)


def resident_blocks(near_blocks: int, layers: int, expansion: float, slots: int) -> int:
    """Blocks that have a place in each layer, so that `expansion` times `near_blocks` fit in all.

    Layer 0 and the slots hold all blocks, the other layers only those.

    Args:
        near_blocks: that would fit without swap.
        layers: of the model.
        expansion: blocks over those.
        slots: that layers share.
    """
    shared = layers * near_blocks * (expansion - 1) / (layers - 1 - slots)
    return max(int(near_blocks * expansion - shared), 0)
