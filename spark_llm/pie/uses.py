"""When waiting rows will ask for a block: what the block tier keeps, and what it gives up first.

    row arrives  ─► add(row, hashes of its prompt's blocks)
    row starts, or goes away ─► drop(row)
    eviction     ─► of(hash): rows that begin so, and the place of the first of them in the queue

The rows of a partition are sent together, so what waits in the engine is the plan, as far as it was sent.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

NEVER: Final = 1 << 62


class WaitingUses:
    """Uses that remain, by block hash; rows are taken to start in the order they came."""

    def __init__(self) -> None:
        self._hashes: dict[str, tuple[bytes, ...]] = {}
        self._rows: dict[bytes, dict[str, int]] = {}
        self._places = count()

    def __len__(self) -> int:
        """Blocks that rows wait for."""
        return len(self._rows)

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

    def of(self, block_hash: bytes) -> tuple[int, int]:
        """Waiting rows that begin with this block and all before it; the first one's place, or `NEVER`."""
        rows = self._rows.get(block_hash)
        return (len(rows), next(iter(rows.values()))) if rows else (0, NEVER)
