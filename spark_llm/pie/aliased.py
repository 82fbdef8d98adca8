"""Memory of the host that is seen at several addresses, so that layers share pages and keep plain strides.

    addresses   | layer 0: blocks | layer 1: own │ shared | layer 2: own │ shared | …
    bytes       | layer 0         | layer 1 own | layer 2 own | … | slot 0 | slot 1 |

A kernel finds block b of a layer at `base + b × page`; here the bytes behind the shared part are a slot's.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
import weakref
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from spark_llm.pie.shared_pages import SharedPages

GRANULE_BYTES: Final = mmap.PAGESIZE
_FIXED: Final = 0x10
_FAILED: Final = ctypes.c_void_p(-1).value


def is_supported() -> bool:
    """Whether this machine can map the same bytes at several addresses."""
    return sys.platform == "linux" and hasattr(os, "memfd_create")


def rounded(size_bytes: int) -> int:
    """Up to whole granules."""
    return -(-size_bytes // GRANULE_BYTES) * GRANULE_BYTES


class AliasedMemory:
    """Zeroed memory of all layers.

    Args:
        pages: which blocks share; own pages of a swapped layer must be whole granules.
        page_bytes: a block of one layer.

    Attributes:
        layer_bytes: from one layer's first block to the next layer's.
        near_bytes: of memory behind the addresses.

    Raises:
        OSError: the machine has no such memory, or not so much.
    """

    def __init__(self, pages: SharedPages, page_bytes: int) -> None:
        layers = pages.turns.layers
        self.layer_bytes = rounded(pages.blocks * page_bytes)
        sizes: dict[str, int] = {}
        for layer in range(layers):
            for owner, count in pages.segments(layer):
                sizes[owner] = rounded(count * page_bytes)
        self.near_bytes = sum(sizes.values())
        at, begins = 0, {}
        for owner, size in sizes.items():
            begins[owner], at = at, at + size
        file = os.memfd_create("kv-cache")
        try:
            os.ftruncate(file, self.near_bytes)
            self._base = _map(None, layers * self.layer_bytes, 0, mmap.MAP_ANONYMOUS, -1, 0)
            weakref.finalize(self, _unmap, self._base, layers * self.layer_bytes)
            for layer in range(layers):
                address = self._base + layer * self.layer_bytes
                for owner, _ in pages.segments(layer):
                    size = sizes[owner]
                    _map(address, size, mmap.PROT_READ | mmap.PROT_WRITE, _FIXED, file, begins[owner])
                    address += size
        finally:
            os.close(file)
        self._size = layers * self.layer_bytes

    def tensor(self) -> Any:
        """All addresses as one int8 tensor, which keeps the memory."""
        import torch

        buffer = (ctypes.c_char * self._size).from_address(self._base)
        buffer.memory = self  # type: ignore[attr-defined]
        return torch.frombuffer(buffer, dtype=torch.int8)


def _map(address: int | None, size: int, protection: int, flags: int, file: int, offset: int) -> int:
    shared = mmap.MAP_PRIVATE if flags & mmap.MAP_ANONYMOUS else mmap.MAP_SHARED
    found = _libc().mmap(address, size, protection, shared | flags, file, offset)
    if found == _FAILED:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot map {size} bytes of memory for keys and values: {os.strerror(number)}")
    return int(found)


def _unmap(address: int, size: int) -> None:
    _libc().munmap(address, size)


def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (
        ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
    )  # fmt: skip
    libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    return libc
