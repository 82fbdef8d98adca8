"""How many rows that have not started still begin with a block: what the block tier keeps longest.

    row arrives  ─► add(row, hashes of its prompt's blocks)
    row starts, or goes away ─► drop(row)
    eviction     ─► of(hash)

The rows of a partition are sent together, so what waits in the engine is the plan.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Uses:
    """Counts, by block hash."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[bytes, ...]] = {}
        self._counts: Counter[bytes] = Counter()

    def __bool__(self) -> bool:
        """Whether any row is waiting."""
        return bool(self._rows)

    def add(self, row: str, hashes: Iterable[bytes]) -> None:
        """A row waits; chained hashes, so that equal ones are equal prefixes."""
        self.drop(row)
        self._rows[row] = kept = tuple(hashes)
        self._counts.update(kept)

    def drop(self, row: str) -> None:
        """The row waits no longer; nothing where it did not."""
        for each in self._rows.pop(row, ()):
            self._counts[each] -= 1
            if not self._counts[each]:
                del self._counts[each]

    def of(self, block_hash: bytes) -> int:
        """Waiting rows that begin with this block and all before it."""
        return self._counts[block_hash] if block_hash in self._counts else 0
