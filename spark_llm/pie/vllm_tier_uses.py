"""Which chunk makes room in the block tier: the one that fewest waiting rows begin with.

    a plan      least used of the chunks that were not used for longest, `LOOK_AT` beyond those needed
    no plan     vLLM's LRU: least recently used, ends of prefixes first

Source: vLLM 0.32, v1/kv_offload/cpu/policies/lru.py, loaded by `cache_policy_module_path`.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Final

from vllm.v1.kv_offload.base import get_offload_block_hash
from vllm.v1.kv_offload.cpu.policies.lru import LRUCachePolicy

from spark_llm.pie.uses import Uses

if TYPE_CHECKING:
    from vllm.v1.kv_offload.base import OffloadKey
    from vllm.v1.kv_offload.cpu.policies.base import ChunkStatus

# Bounds what an eviction costs in a tier of many chunks.
LOOK_AT: Final = 1024


class RemainingUses(LRUCachePolicy):
    """LRU, but chunks that waiting rows will ask for are spared; no public docs, see the module."""

    def __init__(self, cache_capacity: int) -> None:
        super().__init__(cache_capacity)
        self.uses = Uses()

    def evict(self, n: int, protected: set[OffloadKey]) -> list[tuple[OffloadKey, ChunkStatus]] | None:
        """As `CachePolicy.evict`."""
        if not self.uses or n == 0:
            return super().evict(n, protected)
        seen: list[tuple[int, int, OffloadKey]] = []
        aside: list[tuple[int, OffloadKey]] = []
        unused = 0
        met: set[OffloadKey] = set()
        while self._heap and unused < n and len(seen) < n + LOOK_AT:
            entry = heapq.heappop(self._heap)
            rank, key = entry
            if not self._is_current(entry) or key in met:
                continue
            met.add(key)
            aside.append(entry)
            if key in protected:
                continue
            uses = self.uses.of(get_offload_block_hash(key))
            unused += not uses
            seen.append((uses, rank, key))
        chosen = {key for _, _, key in heapq.nsmallest(n, seen)} if len(seen) >= n else set()
        for entry in aside:
            if entry[1] not in chosen:
                heapq.heappush(self._heap, entry)
        if not chosen:
            return None
        victims = [(key, self.chunks[key]) for _, key in aside if key in chosen]
        for key, _ in victims:
            self.remove(key)
        return victims
