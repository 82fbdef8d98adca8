"""The worker's side of the block tier on a CPU: blocks of the KV cache to slots of a store, and back.

    store job   blocks ─► one page a block, all its layers ─► CheckedSlots.write
    load job    CheckedSlots.read ─► page ─► blocks             each direction has a thread of its own

A block that is not what was stored ends its load as failed: vLLM computes the request's prompt again. vLLM
waits for stores whose blocks it needs for others; those that have not begun by then are dropped, so that a
slow disk costs hits and not time.

Source: vLLM 0.32, v1/kv_offload/base.py (`OffloadingWorker`), whose GPU worker copies on CUDA streams.
Differs: it has no checksums, and takes a job that fails for a bug.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
from vllm.logger import init_logger
from vllm.v1.kv_offload.base import OffloadingWorker, TransferResult

from spark_llm.pie.chunks import CheckedSlots
from spark_llm.pie.copies import CopyThread, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vllm.v1.kv_offload.base import (
        BlockIDsLoadStoreSpec,
        CanonicalKVCaches,
        GPULoadStoreSpec,
    )

    from spark_llm.costmodel.link import Link
    from spark_llm.pie.chunks import Page, Store

logger = init_logger("vllm.spark_llm.swap")
# Much shorter than a step on a CPU.
PATIENCE_S: Final = 0.01


def page_bytes(kv_caches: CanonicalKVCaches) -> int:
    """Bytes of a slot: a block of the group whose layers together are largest."""
    return int(max(sum(ref.page_size_bytes for ref in refs) for refs in kv_caches.group_data_refs))


def places(
    near: GPULoadStoreSpec, far: BlockIDsLoadStoreSpec, blocks_per_chunk: int
) -> Iterator[tuple[int, int, int, int]]:
    """Group, block, chunk and place in the chunk of each block of a job.

    Args:
        near: blocks, group after group; the first of a group may lie within a chunk.
        far: chunks, group after group.
        blocks_per_chunk: blocks of a chunk.
    """
    at = chunk_at = 0
    for group, (size, first) in enumerate(zip(near.group_sizes, near.block_indices, strict=True)):
        if not size:
            continue
        for number in range(size):
            chunk, place = divmod(first % blocks_per_chunk + number, blocks_per_chunk)
            yield group, int(near.block_ids[at + number]), int(far.block_ids[chunk_at + chunk]), place
        at += size
        chunk_at += -(-(first % blocks_per_chunk + size) // blocks_per_chunk)


class TierWorker(OffloadingWorker):
    """Copies on two threads, first in first out.

    Args:
        kv_caches: of the engine, in memory that this process can address.
        store: with so many slots of `page_bytes`.
        chunks: that the scheduler hands out.
        blocks_per_chunk: slots of a chunk.
        link: emulated, for tests and benchmarks; may be exchanged at any time.
    """

    def __init__(
        self,
        kv_caches: CanonicalKVCaches,
        store: Store,
        chunks: int,
        blocks_per_chunk: int,
        link: Link | None = None,
    ) -> None:
        self.link = link
        self.slots = CheckedSlots(store, chunks * blocks_per_chunk)
        self._blocks_per_chunk = blocks_per_chunk
        self._near = [each.tensor.numpy().view(np.uint8) for each in kv_caches.tensors]
        self._refs = [
            [(ref.tensor_idx, ref.page_size_bytes) for ref in refs] for refs in kv_caches.group_data_refs
        ]
        self._loads = CopyThread("spark-llm-kv-load", lambda count: self._link_s(count, 0))
        self._stores = CopyThread("spark-llm-kv-store", lambda count: self._link_s(0, count))
        self._failed_loads: dict[int, set[int]] = {}
        self._chunks_of: dict[int, set[int]] = {}
        self._unkept: set[int] = set()
        self._dropped: set[int] = set()

    def _link_s(self, down_bytes: int, up_bytes: int) -> float:
        return self.link.seconds(down_bytes, up_bytes) if self.link is not None else 0.0

    def submit_store(self, job_id: int, src_spec: GPULoadStoreSpec, dst_spec: BlockIDsLoadStoreSpec) -> bool:
        """As `OffloadingWorker.submit_store`; a place that cannot be written is told by `take_unkept`."""
        self._chunks_of[job_id] = {int(chunk) for chunk in dst_spec.block_ids}
        self._stores.submit(job_id, partial(self._copy, src_spec, dst_spec, self._store_block))
        return True

    def submit_load(self, job_id: int, src_spec: BlockIDsLoadStoreSpec, dst_spec: GPULoadStoreSpec) -> bool:
        """As `OffloadingWorker.submit_load`; a job with bad blocks is told by `take_failed_loads`."""
        self._loads.submit(job_id, partial(self._copy, dst_spec, src_spec, self._load_block))
        return True

    def get_finished(self) -> list[TransferResult]:
        """As `OffloadingWorker.get_finished`; vLLM's connector takes successes only."""
        loads, stores = self._loads.finished(), self._stores.finished()
        self._failed_loads |= {done.job: done.outcome.bad for done in loads if done.outcome.bad}
        for done in stores:
            chunks = self._chunks_of.pop(done.job)
            self._unkept |= done.outcome.bad
            if done.outcome.dropped:
                self._drop(chunks)
        return [
            TransferResult(done.job, True, done.outcome.moved_bytes, done.seconds)
            for done in (*loads, *stores)
        ]

    def take_failed_loads(self) -> dict[int, set[int]]:
        """Jobs told as finished that brought bad blocks, with the chunks these came from."""
        failed, self._failed_loads = self._failed_loads, {}
        return failed

    def take_unkept(self) -> tuple[set[int], set[int]]:
        """Chunks of stores told as finished that could not be written, and of those that were dropped."""
        unkept, dropped = self._unkept, self._dropped
        self._unkept, self._dropped = set(), set()
        return unkept, dropped

    def wait(self, job_ids: set[int]) -> None:
        """As `OffloadingWorker.wait`; stores that do not begin soon are dropped, see the module."""
        self._loads.wait(job_ids)
        self._stores.wait(job_ids, PATIENCE_S)
        self._stores.drop(job_ids)
        self._stores.wait(job_ids)

    def shutdown(self) -> None:
        """As `OffloadingWorker.shutdown`."""
        self._loads.close()
        self._stores.close()
        self.slots.store.close()

    def _drop(self, chunks: set[int]) -> None:
        self._dropped |= chunks
        for chunk in chunks:
            for place in range(self._blocks_per_chunk):
                self.slots.forget(chunk * self._blocks_per_chunk + place)

    def _copy(self, near: GPULoadStoreSpec, far: BlockIDsLoadStoreSpec, one: _CopyBlock) -> Outcome:
        outcome = Outcome()
        try:
            for group, block, chunk, place in places(near, far, self._blocks_per_chunk):
                page = np.empty(sum(size for _, size in self._refs[group]), dtype=np.uint8)
                if one(group, block, chunk * self._blocks_per_chunk + place, page):
                    outcome.moved_bytes += len(page)
                else:
                    outcome.bad.add(chunk)
        except Exception:
            # The thread must live on; nothing of this job is trusted.
            logger.exception("a copy of KV blocks failed")
            outcome.bad.update(map(int, far.block_ids))
        return outcome

    def _store_block(self, group: int, block: int, slot: int, page: Page) -> bool:
        at = 0
        for tensor, size in self._refs[group]:
            page[at : at + size] = self._near[tensor][block, :size]
            at += size
        return self.slots.write(slot, page)

    def _load_block(self, group: int, block: int, slot: int, page: Page) -> bool:
        if not self.slots.read(slot, page):
            return False
        at = 0
        for tensor, size in self._refs[group]:
            self._near[tensor][block, :size] = page[at : at + size]
            at += size
        return True


if TYPE_CHECKING:
    from collections.abc import Callable

    _CopyBlock = Callable[[int, int, int, Page], bool]
