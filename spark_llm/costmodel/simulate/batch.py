"""The rows that run, as arrays: one column per fact, rows in the order of admission."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]

_FACTS = 10


class Batch:
    """Running rows. Each property has shape (rows,) and is a view: writing to it changes the batch.

    Args:
        most: rows that fit.
    """

    def __init__(self, most: int) -> None:
        self._table = np.zeros((_FACTS, most), dtype=np.int64)
        self._slots = list(range(most))[::-1]
        self.rows = 0

    def add(self, row: int, node: int, computed: int, tokens: int, generated: int, output: int) -> int:
        """Admits a row; returns its place."""
        place = self.rows
        self._table[:, place] = (self._slots.pop(), row, node, computed, tokens, generated, output, 0, 0, 0)
        self.rows = place + 1
        return place

    def keep(self, kept: npt.NDArray[Any]) -> None:
        """Drops the rows where `kept`, of shape (rows,), is False."""
        self._slots.extend(self.slot[~kept].tolist())
        rest = self._table[:, : self.rows][:, kept]
        self.rows = rest.shape[1]
        self._table[:, : self.rows] = rest

    def drop_last(self) -> None:
        """Drops the row that was admitted last."""
        self.rows -= 1
        self._slots.append(int(self._table[0, self.rows]))

    @property
    def slot(self) -> Ints:
        """Number that stays with a row while it runs."""
        return self._table[0, : self.rows]

    @property
    def row(self) -> Ints:
        """Its number in the workload."""
        return self._table[1, : self.rows]

    @property
    def node(self) -> Ints:
        """Its node in the prefix trie, or -1."""
        return self._table[2, : self.rows]

    @property
    def computed(self) -> Ints:
        """Tokens whose keys and values are there."""
        return self._table[3, : self.rows]

    @property
    def tokens(self) -> Ints:
        """Prompt and generated tokens."""
        return self._table[4, : self.rows]

    @property
    def generated(self) -> Ints:
        """Generated tokens."""
        return self._table[5, : self.rows]

    @property
    def output(self) -> Ints:
        """Tokens that it will have generated when it is done."""
        return self._table[6, : self.rows]

    @property
    def blocks(self) -> Ints:
        """KV blocks that it refers to."""
        return self._table[7, : self.rows]

    @property
    def shared(self) -> Ints:
        """Those of them that belong to the prefix trie."""
        return self._table[8, : self.rows]

    @property
    def known(self) -> Ints:
        """Leading tokens that the prefix cache knows: computed, and not drafts when they were scheduled."""
        return self._table[9, : self.rows]
