"""Copies of blocks between near and host memory while layers compute.

    LayerSwap ──► Copier.store(layer, blocks)   near ─► host, after what was computed so far
                  Copier.load(layer, blocks)    host ─► near, after what was stored so far
                  Copier.wait(layer)            the layer's loads, and the stores that they follow, have ended

One stream per direction, each first in first out. `ThreadCopier` is the CPU's: a thread per direction, and a
link of any speed for tests. The GPU's is `copier_cuda`.
"""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class CopyFigures:
    """What was copied since the start.

    Attributes:
        loaded_bytes: host to near.
        stored_bytes: near to host.
        load_s: that loads took.
        store_s: that stores took.
        stall_s: that layers waited.
    """

    loaded_bytes: int = 0
    stored_bytes: int = 0
    load_s: float = 0.0
    store_s: float = 0.0
    stall_s: float = 0.0


class Copier(Protocol):
    """See the module. Blocks are ascending block ids."""

    def store(self, layer: int, blocks: NDArray[np.int64]) -> None:
        """Queues a copy of blocks to host memory."""

    def load(self, layer: int, blocks: NDArray[np.int64]) -> None:
        """Queues a copy of blocks back to near memory, into pages that an earlier layer has left."""

    def wait(self, layer: int) -> None:
        """Holds the computation until the layer may be read and written."""

    def figures(self) -> CopyFigures:
        """So far; a GPU's may lag behind by a step."""

    def close(self) -> None:
        """Ends after the copies that are queued."""


@dataclass(frozen=True, slots=True)
class EmulatedLink:
    """A link that is slower than the machine's own, per direction.

    Attributes:
        bytes_per_s: bandwidth.
        latency_s: of every copy.
        drop_after_bytes: once so many were copied in a direction, it has `dropped_bytes_per_s`.
        dropped_bytes_per_s: bandwidth from then on.
    """

    bytes_per_s: float
    latency_s: float = 0.0
    drop_after_bytes: int | None = None
    dropped_bytes_per_s: float = 0.0

    def copy_s(self, copied_bytes: int, before_bytes: int) -> float:
        """Time of a copy after so many bytes."""
        dropped = self.drop_after_bytes is not None and before_bytes >= self.drop_after_bytes
        return self.latency_s + copied_bytes / (self.dropped_bytes_per_s if dropped else self.bytes_per_s)


@dataclass(slots=True)
class _Copy:
    into: Any
    into_rows: Any
    source: Any
    source_rows: Any
    after: _Copy | None = None
    ended: threading.Event = field(default_factory=threading.Event)


class _Direction:
    """A thread that copies one after the other."""

    def __init__(self, name: str, link: EmulatedLink | None) -> None:
        self._link = link
        self.copied_bytes, self.busy_s = 0, 0.0
        self.failure: Exception | None = None
        self._copies: queue.SimpleQueue[_Copy | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, copy: _Copy) -> _Copy:
        self._copies.put(copy)
        return copy

    def close(self) -> None:
        self._copies.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (copy := self._copies.get()) is not None:
            if copy.after is not None:
                copy.after.ended.wait()
                copy.after = None
            try:
                if self.failure is None:
                    self._copy(copy)
            except Exception as failure:  # noqa: BLE001  whatever it is, who waits must hear of it
                self.failure = failure
            copy.ended.set()

    def _copy(self, copy: _Copy) -> None:
        count = len(copy.into_rows)
        if not count:
            return
        start_s = time.perf_counter()
        copy.into[copy.into_rows] = copy.source[copy.source_rows]
        copied = count * copy.into.shape[1] * copy.into.element_size()
        if self._link is not None:
            left_s = self._link.copy_s(copied, self.copied_bytes) - (time.perf_counter() - start_s)
            time.sleep(max(left_s, 0.0))
        self.copied_bytes += copied
        self.busy_s += time.perf_counter() - start_s


class ThreadCopier:
    """Copies by two threads.

    Args:
        near: pages of each swapped layer, (blocks, page bytes); layers may overlap.
        first_shared_block: host memory keeps the blocks from here on.
        link: emulates one; None: memory's own speed.
    """

    def __init__(
        self, near: Mapping[int, Any], first_shared_block: int, link: EmulatedLink | None = None
    ) -> None:
        import torch

        self._near, self._first = near, first_shared_block
        self._host = {layer: torch.zeros_like(pages[first_shared_block:]) for layer, pages in near.items()}
        self._stores, self._loads = _Direction("kv-store", link), _Direction("kv-load", link)
        self._last_store: _Copy | None = None
        self._last_load: dict[int, _Copy] = {}
        self._stall_s = 0.0

    def store(self, layer: int, blocks: NDArray[np.int64]) -> None:
        """See `Copier`."""
        near, host = self._rows(blocks)
        self._last_store = self._stores.put(_Copy(self._host[layer], host, self._near[layer], near))

    def load(self, layer: int, blocks: NDArray[np.int64]) -> None:
        """See `Copier`."""
        near, host = self._rows(blocks)
        copy = _Copy(self._near[layer], near, self._host[layer], host, after=self._last_store)
        self._last_load[layer] = self._loads.put(copy)

    def wait(self, layer: int) -> None:
        """See `Copier`.

        Raises:
            RuntimeError: a copy failed, so that what is in near memory cannot be known.
        """
        copy = self._last_load.get(layer)
        if copy is not None and not copy.ended.is_set():
            start_s = time.perf_counter()
            copy.ended.wait()
            self._stall_s += time.perf_counter() - start_s
        for direction in (self._stores, self._loads):
            if direction.failure is not None:
                raise RuntimeError("a copy of keys and values between near and host memory failed") from (
                    direction.failure
                )

    def figures(self) -> CopyFigures:
        """See `Copier`."""
        return CopyFigures(
            self._loads.copied_bytes, self._stores.copied_bytes,
            self._loads.busy_s, self._stores.busy_s, self._stall_s,
        )  # fmt: skip

    def close(self) -> None:
        """See `Copier`."""
        self._stores.close()
        self._loads.close()

    def _rows(self, blocks: NDArray[np.int64]) -> tuple[Any, Any]:
        import torch

        near = torch.from_numpy(blocks)
        return near, near - self._first
