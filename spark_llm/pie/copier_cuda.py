"""The GPU's copier: pinned host memory, a stream per direction, events; the host never waits.

    compute stream   … layer i ─┬──────────────────────── wait(i + 1) ─ layer i + 1 …
    store stream                └ computed ► near ─► pinned ─┐ stored
    load stream                                              └► pinned ─► near ─ loaded

Copies of a call go to the driver at once: blocks of one layer are small, and a call per block would cost
more than the copy.

Source: vLLM 0.32, v1/kv_offload/cpu/gpu_worker.py (which copies between passes), _custom_ops.py.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from spark_llm.pie.copier import CopyFigures

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray


class _Clock:
    """Seconds between pairs of events, read once both have passed."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._pairs: deque[tuple[Any, Any]] = deque()

    def add(self, begin: Any, end: Any) -> None:
        self._pairs.append((begin, end))

    def read(self) -> float:
        while self._pairs and self._pairs[0][1].query():
            begin, end = self._pairs.popleft()
            self.seconds += begin.elapsed_time(end) / 1000
        return self.seconds


class StreamCopier:
    """Copies by two streams beside the one that computes.

    Args:
        near: pages of each swapped layer on one GPU, (blocks, page bytes); layers may overlap.
        first_shared_block: host memory keeps the blocks from here on.

    Raises:
        RuntimeError: there is no CUDA device, or the host has not so much memory to pin.
    """

    def __init__(self, near: Mapping[int, Any], first_shared_block: int) -> None:
        import torch

        if not torch.cuda.is_available():
            raise RuntimeError("keys and values are on a GPU, and there is no CUDA device")
        self._torch, self._near, self._first = torch, near, first_shared_block
        self._host = {
            layer: torch.zeros(pages[first_shared_block:].shape, dtype=pages.dtype, pin_memory=True)
            for layer, pages in near.items()
        }
        device = next(iter(near.values())).device
        self._stores, self._loads = torch.cuda.Stream(device), torch.cuda.Stream(device)
        self._stored: Any = None
        self._loaded: dict[int, Any] = {}
        self._load_clock, self._store_clock, self._stall_clock = _Clock(), _Clock(), _Clock()
        self._loaded_bytes = self._stored_bytes = 0

    def store(self, layer: int, blocks: NDArray[np.int64]) -> None:
        """See `Copier`."""
        self._stores.wait_stream(self._torch.cuda.current_stream())
        begin = self._event(self._stores)
        with self._torch.cuda.stream(self._stores):
            self._stored_bytes += self._copy(
                self._near[layer], blocks, self._host[layer], blocks - self._first
            )
        self._stored = self._event(self._stores)
        self._store_clock.add(begin, self._stored)

    def load(self, layer: int, blocks: NDArray[np.int64]) -> None:
        """See `Copier`."""
        # The layer that leaves these pages may still read them.
        self._loads.wait_stream(self._torch.cuda.current_stream())
        if self._stored is not None:
            self._loads.wait_event(self._stored)
        begin = self._event(self._loads)
        with self._torch.cuda.stream(self._loads):
            self._loaded_bytes += self._copy(
                self._host[layer], blocks - self._first, self._near[layer], blocks
            )
        self._loaded[layer] = self._event(self._loads)
        self._load_clock.add(begin, self._loaded[layer])

    def wait(self, layer: int) -> None:
        """See `Copier`; holds the stream that computes, not the host."""
        loaded = self._loaded.get(layer)
        if loaded is not None:
            computes = self._torch.cuda.current_stream()
            begin = self._event(computes)
            computes.wait_event(loaded)
            self._stall_clock.add(begin, self._event(computes))

    def figures(self) -> CopyFigures:
        """See `Copier`."""
        return CopyFigures(
            self._loaded_bytes, self._stored_bytes,
            self._load_clock.read(), self._store_clock.read(), self._stall_clock.read(),
        )  # fmt: skip

    def close(self) -> None:
        """See `Copier`."""
        self._stores.synchronize()
        self._loads.synchronize()

    def _event(self, stream: Any) -> Any:
        event = self._torch.cuda.Event(enable_timing=True)
        event.record(stream)
        return event

    def _copy(
        self, source: Any, source_rows: NDArray[np.int64], into: Any, into_rows: NDArray[np.int64]
    ) -> int:
        """Queues the copy of pages on the current stream; returns its bytes."""
        if not len(source_rows):
            return 0
        from vllm import _custom_ops

        page_bytes = source.stride(0) * source.element_size()
        numbers = self._torch.from_numpy
        _custom_ops.swap_blocks_batch(
            numbers(source.data_ptr() + source_rows * page_bytes),
            numbers(into.data_ptr() + into_rows * page_bytes),
            self._torch.full((len(source_rows),), page_bytes, dtype=self._torch.int64),
        )
        return int(len(source_rows) * page_bytes)
