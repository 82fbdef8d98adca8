"""vLLM's queue of free blocks, those that planned rows will read set apart.

    get_new_blocks ─► popleft_n
      nobody is known to want it   list, least recently used first: vLLM's own; leaves first
      will be read again           heap, furthest next use first (Belady); leaves when the list is empty

Without planned rows the heap is empty, and the queue is vLLM's. An operation on a block takes the time of a
heap's at most.

Source: vLLM 0.32, v1/core/kv_cache_utils.py (`FreeKVCacheBlockQueue`), v1/core/block_pool.py.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Final, NamedTuple

from vllm.v1.core.kv_cache_utils import (
    BlockHash,
    FreeKVCacheBlockQueue,
    get_block_hash,
    get_group_id,
    make_block_hash_with_group_id,
)

from spark_llm.jenga.uses import NEVER, NO_USE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vllm.v1.core.block_pool import BlockPool
    from vllm.v1.core.kv_cache_utils import KVCacheBlock
    from vllm.v1.kv_cache_interface import KVCacheConfig

    from spark_llm.jenga.uses import RemainingUses, Use

_HEAP_SLACK: Final = 64


def used_in(uses: RemainingUses, block_hash: bytes, window: int) -> Use:
    """What is known of a block in layers with a window, in hashes; `NEVER` where they have none."""
    return uses.of(block_hash) if uses.ahead(block_hash) < window else NO_USE


def windows_of(config: KVCacheConfig, unit_tokens: int) -> list[int]:
    """The window of each group, in hashes of `unit_tokens` tokens.

    States are kept at the places at which rows resume, and nowhere else.
    """
    windows = [getattr(group.kv_cache_spec, "sliding_window", None) for group in config.kv_cache_groups]
    return [NEVER if window is None else -(-window // unit_tokens) for window in windows]


class _Entry(NamedTuple):
    stamp: int
    key: bytes
    next_use: int


class UsesQueue(FreeKVCacheBlockQueue):
    """Takes the place of a pool's queue, with the free blocks of that one.

    Args:
        pool: whose queue it becomes.
        uses: counts.
        windows: hashes in the window of each KV cache group that shares the pool; `NEVER` for all of them.
    """

    def __init__(self, pool: BlockPool, uses: RemainingUses, windows: Sequence[int] = (NEVER,)) -> None:
        super().__init__(pool.free_block_queue.get_all_free_blocks())
        self._pool, self._uses, self._windows = pool, uses, windows
        self._kept: dict[bytes, KVCacheBlock] = {}  # by hash with the number of the group
        self._entries: dict[int, _Entry] = {}  # of kept blocks, by number
        self._heap: list[tuple[int, int, int, KVCacheBlock]] = []
        self._stamp = 0
        uses.watch(self._changed)

    @property
    def kept_blocks(self) -> int:
        """Free blocks that will be read again."""
        return len(self._kept)

    def popleft(self) -> KVCacheBlock:
        """The block that leaves first."""
        return self.popleft_n(1)[0] if self._kept else super().popleft()

    def popleft_n(self, n: int) -> list[KVCacheBlock]:
        """The blocks that leave first."""
        listed = min(n, self.num_free_blocks - len(self._kept))
        return [*super().popleft_n(listed), *(self._furthest() for _ in range(n - listed))]

    def remove(self, block: KVCacheBlock) -> None:
        """Takes a block out, as it is used again."""
        if block.block_id in self._entries:
            self._release(block)
        else:
            super().remove(block)

    def append(self, block: KVCacheBlock) -> None:
        """Puts a block back."""
        self.append_n([block])

    def append_n(self, blocks: list[KVCacheBlock]) -> None:
        """Puts blocks back."""
        super().append_n([block for block in blocks if not self._keep(block)])

    def get_all_free_blocks(self) -> list[KVCacheBlock]:
        """The list, what leaves first in front; then those that are kept, in no order."""
        return [*super().get_all_free_blocks(), *self._kept.values()]

    def let_go(self) -> None:
        """Nothing can be hit any more."""
        blocks = list(self._kept.values())
        for block in blocks:
            self._release(block)
        super().append_n(blocks)

    def _keep(self, block: KVCacheBlock) -> bool:
        """Whether the block is kept: it will be read, and no other free block has the same content."""
        key = block.block_hash
        if key is None or key in self._kept:
            return False
        uses, next_use = self._use(get_block_hash(key), get_group_id(key))
        if uses:
            self._kept[key] = block
            self.num_free_blocks += 1
            self._push(block, key, next_use)
        return uses > 0

    def _use(self, block_hash: bytes, group: int) -> Use:
        return used_in(self._uses, block_hash, self._windows[group])

    def _push(self, block: KVCacheBlock, key: bytes, next_use: int) -> None:
        self._stamp += 1
        self._entries[block.block_id] = _Entry(self._stamp, key, next_use)
        # Of blocks that are read at the same time the end of a prefix leaves before its front.
        heappush(self._heap, (-next_use, -(block.block_hash_num_tokens or 0), self._stamp, block))
        if len(self._heap) > 2 * len(self._kept) + _HEAP_SLACK:
            self._heap = [entry for entry in self._heap if self._is_live(*entry[2:])]
            heapify(self._heap)

    def _is_live(self, stamp: int, block: KVCacheBlock) -> bool:
        entry = self._entries.get(block.block_id)
        return entry is not None and entry.stamp == stamp

    def _furthest(self) -> KVCacheBlock:
        while True:
            _, _, stamp, block = heappop(self._heap)
            if self._is_live(stamp, block):
                self._release(block)
                return block

    def _release(self, block: KVCacheBlock) -> None:
        del self._kept[self._entries.pop(block.block_id).key]
        self.num_free_blocks -= 1

    def _changed(self, block_hash: bytes) -> None:
        for group in range(len(self._windows)):
            key = make_block_hash_with_group_id(BlockHash(block_hash), group)
            kept = self._kept.get(key)
            if kept is None:
                block = self._pool.cached_block_hash_to_block.get_one_block(key)
                if block is None or block.ref_cnt or block.is_null or block.block_hash != key:
                    continue
                if self._use(block_hash, group).uses:
                    super().remove(block)
                    self._keep(block)
                continue
            uses, next_use = self._use(block_hash, group)
            if not uses:
                self._release(kept)
                super().prepend_n([kept])
            elif next_use != self._entries[kept.block_id].next_use:
                self._push(kept, key, next_use)
