"""Layer swap in the simulated engine of the cost model: what a step waits for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spark_llm.costmodel.link import Link
    from spark_llm.pie.layout import SlotLayout


@dataclass(frozen=True, slots=True)
class SwappedLayers:
    """Copies of the swapped layers' blocks in use, hidden behind a step as far as they can be.

    It is a `spark_llm.costmodel.simulate.engine.Transfers`. The engine's `kv_blocks` are those that fit
    without swap times the layout's expansion.

    Attributes:
        layout: layers that are swapped.
        link: between host and device.
        block_bytes: of a block, all layers.
    """

    layout: SlotLayout
    link: Link
    block_bytes: float

    def wait_s(self, kv_blocks: int, step_s: float) -> float:
        """Seconds that a step of `step_s` seconds is longer, with `kv_blocks` in use."""
        layer_bytes = kv_blocks * self.block_bytes / self.layout.layers
        # What a step writes is a token a row, which the other direction takes beside.
        copies_s = len(self.layout.swapped) * self.link.seconds(layer_bytes)
        return max(copies_s - step_s, 0.0)
