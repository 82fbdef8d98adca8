"""Which blocks of which layers have a page of their own, and which take turns in shared ones.

    block        0 ........ resident_blocks ........ blocks
    layer 0      own pages                                       never swapped
    layer 1      own pages │ slot 0
    layer 2      own pages │ slot 1
    layer 3      own pages │ slot 0     after layer 1's turn, before its own
    …

As long as no block from `resident_blocks` on is in use, nothing moves; beyond, the share of the blocks beyond.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm
from typing import TYPE_CHECKING

from spark_llm.pie.layout import SLOTS, SlotLayout, away_for, spread

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class SharedPages:
    """Pages of near memory for the blocks of all layers; a page holds a block of one layer.

    Attributes:
        turns: layers that take turns in slots.
        blocks: that the engine may hand out.
        resident_blocks: blocks below it have a page of their own in every layer. 0: swapped layers have
            none, which needs no memory that is seen at several addresses.
    """

    turns: SlotLayout
    blocks: int
    resident_blocks: int = 0

    @property
    def shared_blocks(self) -> int:
        """Blocks that swapped layers keep in slots and in host memory."""
        return self.blocks - self.resident_blocks

    @property
    def near_pages(self) -> int:
        """Pages of near memory."""
        return self.turns.layers * self.blocks - self.turns.away * self.shared_blocks

    @property
    def host_pages(self) -> int:
        """Pages of host memory: a copy of every block that is shared."""
        return len(self.turns.swapped) * self.shared_blocks

    def segments(self, layer: int) -> Sequence[tuple[str, int]]:
        """The parts of a layer in the order of its blocks: whose pages, and how many; empty ones left out."""
        slot = self.turns.slot(layer)
        own, shared = (f"layer {layer}", self.resident_blocks), (f"slot {slot}", self.shared_blocks)
        parts = [(f"layer {layer}", self.blocks)] if slot is None else [own, shared]
        return [part for part in parts if part[1]]


def most_expansion(layers: int, *, aliased: bool, slots: int = SLOTS) -> float:
    """Blocks over those that would fit without swap, at most."""
    # Layer 0 and the slots must hold all blocks; where swapped layers have own pages, one block at least.
    return layers / (1 + slots) if layers > 1 + slots else 1.0


def blocks_within(near_pages: int, layers: int, expansion: float, *, aliased: bool) -> int:
    """Blocks that the engine may hand out over so many pages of near memory.

    Raises:
        ValueError: the expansion cannot be had with so few layers.
    """
    most = most_expansion(layers, aliased=aliased)
    if not 1 < expansion <= most:
        raise ValueError(
            f"expansion {expansion:g} of the KV cache of {layers} layers: expected more than 1, at most {most:g}"
        )
    if not aliased:
        return near_pages // spread(layers, away_for(layers, expansion)).near_layers
    return int(near_pages * expansion / layers)


def shared_pages(
    blocks: int, layers: int, expansion: float, *, aliased: bool, page_bytes: int = 1, granule_bytes: int = 1
) -> SharedPages:
    """How so many blocks share pages; the same answer wherever it is asked.

    Args:
        blocks: of `blocks_within`, or fewer.
        layers: that keep keys and values.
        expansion: blocks over those that would fit without swap.
        aliased: whether the same memory can be seen at several addresses.
        page_bytes: a block of one layer.
        granule_bytes: what is mapped at once; a layer's own pages are whole granules.
    """
    if not aliased:
        return SharedPages(spread(layers, away_for(layers, expansion)), blocks)
    turns = SlotLayout(layers, tuple(range(1, layers)))
    own = (layers * blocks / expansion - turns.near_layers * blocks) / turns.away
    step = lcm(page_bytes, granule_bytes) // page_bytes
    return SharedPages(turns, blocks, max(int(own) // step * step, 0))
