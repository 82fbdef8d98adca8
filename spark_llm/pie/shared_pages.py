"""Which blocks of which layers have a page of their own, and which take turns in shared ones.

    block        0 ........ resident_blocks ........ blocks
    layer 0      own pages                                       never swapped
    layer 1      own pages │ slot 0
    layer 2      own pages │ slot 1
    layer 3      own pages │ slot 0     after layer 1's turn, before its own
    …

As long as no block from `resident_blocks` on is in use, nothing moves; else the blocks beyond do.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm
from typing import TYPE_CHECKING

from spark_llm.pie.layout import SLOTS, SlotLayout, away_for, aways, spread

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


def most_expansion(layers: int) -> float:
    """Blocks over those that would fit without swap, at most; 1 for a model of too few layers."""
    # Layer 0 and the slots must hold all blocks.
    return max(layers / (1 + SLOTS), 1.0)


@dataclass(frozen=True, slots=True)
class Room:
    """What layers share, before it is known how many blocks that makes; the same wherever it is asked.

    Attributes:
        layers: that keep keys and values.
        expansion: blocks over those that would fit without swap, at most; cut to `most_expansion`.
        host_pages: of host memory, at most.
        aliased: whether the same memory can be seen at several addresses.
        step_blocks: a swapped layer's own pages come in so many.

    Raises:
        ValueError: there are too few layers, or the expansion is none.
    """

    layers: int
    expansion: float
    host_pages: int
    aliased: bool
    step_blocks: int = 1

    def __post_init__(self) -> None:
        """Checks and cuts the expansion."""
        most = most_expansion(self.layers)
        if self.expansion <= 1 or most <= 1:
            raise ValueError(
                f"expansion {self.expansion:g} of the KV cache of {self.layers} layers: expected more than "
                f"1, and more than {1 + SLOTS} layers"
            )
        object.__setattr__(self, "expansion", min(self.expansion, most))

    @classmethod
    def of_bytes(
        cls, layers: int, expansion: float, *, host_bytes: int, page_bytes: int, granule_bytes: int | None
    ) -> Room:
        """The same in bytes.

        Args:
            layers: see the class.
            expansion: see the class.
            host_bytes: of host memory, at most.
            page_bytes: a block of one layer.
            granule_bytes: what is mapped at once; None: nothing can be mapped twice.
        """
        step = lcm(page_bytes, granule_bytes) // page_bytes if granule_bytes else 1
        return cls(layers, expansion, host_bytes // page_bytes, granule_bytes is not None, step)

    def blocks(self, near_pages: int) -> int:
        """Blocks that the engine may hand out over so many pages of near memory.

        Raises:
            ValueError: host memory does not hold one block more than would fit without.
        """
        blocks = int(near_pages * self.expansion / self.layers)
        if self.aliased:
            away = self.layers - 1 - SLOTS
            blocks = min(blocks, (near_pages + away * (self.host_pages // (self.layers - 1))) // self.layers)
        plain = near_pages // self.layers
        while blocks > plain:
            pages = self.pages(blocks)
            if pages.turns.swapped and pages.near_pages <= near_pages and pages.host_pages <= self.host_pages:
                return blocks
            blocks -= 1
        raise ValueError(
            f"{self.host_pages} pages of host memory for {self.layers} layers do not add a block to the "
            f"{plain} that fit without: raise spark.llm.swap.hostMemory, or set spark.llm.swap.mode=blocks"
        )

    def pages(self, blocks: int) -> SharedPages:
        """How so many blocks share pages."""
        if not self.aliased:
            fit = min(away_for(self.layers, self.expansion), self.host_pages // max(blocks, 1) - SLOTS)
            away = max((away for away in aways(self.layers) if away <= fit), default=0)
            return SharedPages(spread(self.layers, away), blocks)
        turns = SlotLayout(self.layers, tuple(range(1, self.layers)))
        own = int((self.layers * blocks / self.expansion - turns.near_layers * blocks) / turns.away)
        own = max(own, 0) // self.step_blocks * self.step_blocks
        # What host memory does not hold must have pages of its own.
        least = max(blocks - self.host_pages // (self.layers - 1), 0)
        return SharedPages(turns, blocks, max(own, -(-least // self.step_blocks) * self.step_blocks))
