"""Where the block tier keeps KV: slots of one size, in memory or in a file, each with a checksum.

    write(slot, page) ─► forget the checksum ─► store ─► remember it
    read(slot, page)  ─► store ─► compare ─► True, or False: what was read must not be used

The file is written and read, not mapped: memory that maps a file which was cut short, or that lies on a
full disk, kills the process that touches it. It has no name, so nothing of it outlives the engine or can be
read by others.
"""

from __future__ import annotations

import errno
import os
import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Page = npt.NDArray[np.uint8]


class Store(Protocol):
    """Slots of bytes; what goes wrong is an `OSError`."""

    def write(self, slot: int, page: Page) -> None:
        """Keeps the page."""

    def read(self, slot: int, page: Page) -> None:
        """Fills the page with as many bytes of what was written."""

    def close(self) -> None:
        """Gives everything back."""


class MemoryStore:
    """Slots in host memory; the system hands pages of it out as they are written.

    Args:
        slots: how many.
        slot_bytes: size of each.
    """

    def __init__(self, slots: int, slot_bytes: int) -> None:
        import numpy as np

        self.slots: Page = np.empty((slots, slot_bytes), dtype=np.uint8)

    def write(self, slot: int, page: Page) -> None:
        """As `Store.write`."""
        self.slots[slot, : len(page)] = page

    def read(self, slot: int, page: Page) -> None:
        """As `Store.read`."""
        page[:] = self.slots[slot, : len(page)]

    def close(self) -> None:
        """As `Store.close`."""
        self.slots = self.slots[:0]


class FileStore:
    """Slots in a file without a name; it grows as they are written.

    Args:
        folder: on a local disk.
        slot_bytes: size of each.

    Raises:
        OSError: no file can be made there.
    """

    def __init__(self, folder: Path, slot_bytes: int) -> None:
        self._slot_bytes = slot_bytes
        self.descriptor, name = tempfile.mkstemp(prefix="spark-llm-kv-", dir=folder)
        Path(name).unlink()

    def write(self, slot: int, page: Page) -> None:
        """As `Store.write`."""
        rest, at = page.data, slot * self._slot_bytes
        while rest:
            written = os.pwrite(self.descriptor, rest, at)
            rest, at = rest[written:], at + written

    def read(self, slot: int, page: Page) -> None:
        """As `Store.read`."""
        rest, at = page.data, slot * self._slot_bytes
        while rest:
            found = os.preadv(self.descriptor, [rest], at)
            if not found:
                raise OSError(errno.EIO, f"the file ends before slot {slot}")
            rest, at = rest[found:], at + found

    def close(self) -> None:
        """As `Store.close`."""
        os.close(self.descriptor)


class CheckedSlots:
    """A store that never gives back anything else than what was written last.

    Args:
        store: where pages go.
        slots: how many it has.
    """

    def __init__(self, store: Store, slots: int) -> None:
        self.store = store
        # None: nothing that may be read.
        self._checksums: list[int | None] = [None] * slots

    def write(self, slot: int, page: Page) -> bool:
        """Whether the page is kept; where not, the slot is empty."""
        self._checksums[slot] = None
        try:
            self.store.write(slot, page)
        except OSError:
            return False
        self._checksums[slot] = zlib.crc32(page.data)
        return True

    def forget(self, slot: int) -> None:
        """The slot is empty."""
        self._checksums[slot] = None

    def read(self, slot: int, page: Page) -> bool:
        """Whether the page now holds what was written to the slot last; where not, the slot is empty."""
        expected = self._checksums[slot]
        try:
            if expected is not None:
                self.store.read(slot, page)
        except OSError:
            expected = None
        if expected is None or zlib.crc32(page.data) != expected:
            self._checksums[slot] = None
            return False
        return True
