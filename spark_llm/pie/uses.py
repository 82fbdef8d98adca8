"""When waiting rows will ask for a block: what the block tier keeps, and what it gives up first.

    row arrives  ─► add(row, hashes of its prompt's blocks)
    row starts, or goes away ─► drop(row)
    eviction     ─► next_use(hash): None for never, else the place of the first row that begins so

The rows of a partition are sent together, so what waits in the engine is the plan.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Uses:
    """Uses that remain, by block hash; rows are taken to start in the order they came."""

    def __init__(self) -> None:
        self._hashes: dict[str, tuple[bytes, ...]] = {}
        self._rows: dict[bytes, dict[str, int]] = {}
        self._places = count()

    def __bool__(self) -> bool:
        """Whether any row is waiting."""
        return bool(self._hashes)

    def add(self, row: str, hashes: Iterable[bytes]) -> None:
        """A row waits; chained hashes, so that equal ones are equal prefixes."""
        self.drop(row)
        place = next(self._places)
        self._hashes[row] = kept = tuple(dict.fromkeys(hashes))
        for each in kept:
            self._rows.setdefault(each, {})[row] = place

    def drop(self, row: str) -> None:
        """The row waits no longer; nothing where it did not."""
        for each in self._hashes.pop(row, ()):
            rows = self._rows[each]
            del rows[row]
            if not rows:
                del self._rows[each]

    def remaining(self, block_hash: bytes) -> int:
        """Waiting rows that begin with this block and all before it."""
        return len(self._rows.get(block_hash, ()))

    def next_use(self, block_hash: bytes) -> int | None:
        """Place of the first of them; it only grows until no row is left."""
        rows = self._rows.get(block_hash)
        return next(iter(rows.values())) if rows else None
