"""Which chunk makes room in the block tier: one that no waiting row begins with, else the one used last.

    a plan      no use remains: least recently used first; then the furthest next use (Belady)
    no plan     vLLM's LRU: least recently used, ends of prefixes first

The order is made for many evictions at a time: a chunk further on in it is passed over where it is wanted
earlier by then than it was.

Source: vLLM 0.32, v1/kv_offload/cpu/policies/lru.py, loaded by `cache_policy_module_path`.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Final, Protocol

from vllm.v1.kv_offload.base import get_offload_block_hash
from vllm.v1.kv_offload.cpu.policies.lru import LRUCachePolicy

from spark_llm.pie.uses import WaitingUses

if TYPE_CHECKING:
    from vllm.v1.kv_offload.base import OffloadKey
    from vllm.v1.kv_offload.cpu.policies.base import ChunkStatus


class Uses(Protocol):
    """Who counts: `WaitingUses`, or the planner's own counts where rows bring them."""

    def __len__(self) -> int:
        """Blocks of which something is known."""

    def of(self, block_hash: bytes) -> tuple[int, int]:
        """Rows that will still read it, and when the next of them comes, in rows; 0 where there is none."""


# Share of the idle chunks that are put in order at a time.
AT_A_TIME: Final = 1 / 8


class RemainingUsesPolicy(LRUCachePolicy):
    """LRU, but chunks that waiting rows will ask for are spared, the sooner the longer."""

    def __init__(self, cache_capacity: int) -> None:
        super().__init__(cache_capacity)
        self.uses: Uses = WaitingUses()
        # Best last.
        self._order: list[tuple[tuple[int, int], OffloadKey]] = []

    def evict(self, n: int, protected: set[OffloadKey]) -> list[tuple[OffloadKey, ChunkStatus]] | None:
        """As `CachePolicy.evict`."""
        if not len(self.uses) or n == 0:
            self._order.clear()
            found: list[tuple[OffloadKey, ChunkStatus]] | None = super().evict(n, protected)
            return found
        chosen: dict[OffloadKey, ChunkStatus] = {}
        aside: list[tuple[tuple[int, int], OffloadKey]] = []
        anew = False
        while len(chosen) < n:
            if not self._order:
                if anew:
                    return None
                self._order, anew = self._in_order(n + len(protected)), True
                continue
            worth, key = entry = self._order.pop()
            if key not in self._evictable or key in chosen or self._worth(key) < worth:
                continue
            if key in protected:
                aside.append(entry)
            else:
                chosen[key] = self.chunks[key]
        self._order += reversed(aside)
        for key in chosen:
            self.remove(key)
        return list(chosen.items())

    def clear(self) -> None:
        """As `CachePolicy.clear`."""
        super().clear()
        self._order.clear()

    def _in_order(self, at_least: int) -> list[tuple[tuple[int, int], OffloadKey]]:
        wanted = max(at_least, int(len(self._evictable) * AT_A_TIME))
        return heapq.nlargest(wanted, ((self._worth(key), key) for key in self._evictable))[::-1]

    def _worth(self, key: OffloadKey) -> tuple[int, int]:
        """The larger, the less is lost with the chunk."""
        uses, next_use = self.uses.of(get_offload_block_hash(key))
        return (0, next_use) if uses else (1, -self._ranks[key])
