"""Which copies a pass needs, and when: only blocks that the pass touches, and only where they are away.

    begin(read, written)     the first layer of every slot: what of its blocks is not there is loaded
    layer i computes
    after(i)                 store the blocks that layer i has written; they stay in near memory
                             the next layer of i's slot: what of its blocks is not there is loaded
                             wait for layer i + 1, before it writes its new keys and values

After the last layer of a slot comes the first again: its blocks arrive between two passes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spark_llm.pie.copier import Copier
    from spark_llm.pie.shared_pages import SharedPages

_NONE = np.empty(0, np.int64)


class LayerSwap:
    """Rotates what is in the slots.

    Keys and values are only ever appended, so host memory has a copy of every block as soon as what was
    written is stored, and a slot can be overwritten without storing the rest.

    Args:
        pages: which blocks of which layers share pages.
        copier: that copies.
    """

    def __init__(self, pages: SharedPages, copier: Copier) -> None:
        self._turns, self._first, self._copier = pages.turns, pages.resident_blocks, copier
        # By slot and page: the layer whose block is there.
        self._owner = np.full((pages.turns.slots, pages.shared_blocks), -1, np.int64)
        self._slot = {layer: pages.turns.slot(layer) for layer in pages.turns.swapped}
        self._read = self._written = self._touched = _NONE

    @property
    def is_moving(self) -> bool:
        """Whether the pass touches a block that is shared."""
        return bool(self._touched.size)

    def begin(self, read: NDArray[np.int64], written: NDArray[np.int64]) -> None:
        """Starts a pass.

        Args:
            read: ascending ids of blocks that have keys and values which the pass reads.
            written: ascending ids of blocks that the pass appends to; a block may be in both.
        """
        self._read, self._written = read[read >= self._first], written[written >= self._first]
        self._touched = np.union1d(self._read, self._written)
        if self._touched.size:
            for slot in range(self._turns.slots):
                self._admit(self._turns.on_slot(slot)[0], self._read)

    def after(self, layer: int) -> None:
        """A layer has read and written its blocks."""
        if not self._touched.size:
            return
        slot = self._slot.get(layer)
        if slot is not None:
            if self._written.size:
                self._copier.store(layer, self._written)
            turns = self._turns.on_slot(slot)
            turn = turns.index(layer) + 1
            if turn < len(turns):
                self._admit(turns[turn], self._read)
            else:
                # What this pass has written, the next one will read.
                self._admit(turns[0], self._touched)
        if layer + 1 in self._slot:
            self._copier.wait(layer + 1)

    def _admit(self, layer: int, needed: NDArray[np.int64]) -> None:
        owner = self._owner[self._slot[layer]]
        self._copier.load(layer, needed[owner[needed - self._first] != layer])
        owner[self._touched - self._first] = layer
