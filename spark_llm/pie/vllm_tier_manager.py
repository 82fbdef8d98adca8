"""The scheduler's side of the block tier: vLLM's manager, which can also lose chunks.

    bad at a load      a miss from now on; its place is used again
    dropped by a store a miss, and its place is used again: nobody waited for the copy
    unkept by a store  a miss, and its place is not used again: the disk has no room for it

Source: vLLM 0.32, v1/kv_offload/cpu/manager.py, which takes everything it stored for good.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vllm.distributed.kv_transfer.kv_connector.v1.offloading.metrics import OffloadingConnectorStats
from vllm.v1.kv_offload.base import LookupResult
from vllm.v1.kv_offload.cpu.manager import CPUOffloadingManager

if TYPE_CHECKING:
    from collections.abc import Collection

    from vllm.v1.kv_offload.base import OffloadKey, PrepareStoreOutput, ReqContext

# vLLM takes the metrics of an engine that ended out of the registry by this prefix.
BAD_BLOCKS: Final = "vllm:kv_offload_bad_blocks"
UNKEPT_BLOCKS: Final = "vllm:kv_offload_unkept_blocks"
EVICTIONS: Final = "vllm:kv_offload_evictions"
COUNTERS: Final = {
    BAD_BLOCKS: "KV blocks of the host tier that were not what was stored, and were computed again.",
    UNKEPT_BLOCKS: "KV blocks that could not be written to the host tier.",
    EVICTIONS: "KV blocks that made room for others in the host tier.",
}


class TierManager(CPUOffloadingManager):
    """Chunks that are told as lost are misses, and are gone as soon as no copy uses them."""

    def __init__(self, num_chunks: int, policy: str, policy_module: str | None) -> None:
        super().__init__(num_chunks, cache_policy=policy, cache_policy_module_path=policy_module)
        self.policy = self._policy
        # By key, whether the place may be used again.
        self._lost: dict[OffloadKey, bool] = {}
        self._counted = dict.fromkeys(COUNTERS, 0)
        self.told = dict.fromkeys(COUNTERS, 0)

    def lose(self, bad: Collection[int], unkept: Collection[int], dropped: Collection[int] = ()) -> None:
        """Chunks, by number, that a load found bad, that a store could not write, or did not get to."""
        if not bad and not unkept and not dropped:
            return
        self._count(BAD_BLOCKS, len(bad))
        self._count(UNKEPT_BLOCKS, len(unkept) + len(dropped))
        for key, chunk in self.policy.chunks.items():
            if chunk.chunk_id in unkept:
                self._lost[key] = False
            elif chunk.chunk_id in bad or chunk.chunk_id in dropped:
                self._lost.setdefault(key, True)
        self._sweep()

    def lookup(self, key: OffloadKey, req_context: ReqContext) -> LookupResult:
        """As `OffloadingManager.lookup`."""
        return LookupResult.MISS if key in self._lost else super().lookup(key, req_context)

    def complete_load(self, keys: Collection[OffloadKey], req_context: ReqContext) -> None:
        """As `OffloadingManager.complete_load`."""
        super().complete_load(keys, req_context)
        self._sweep()

    def complete_store(
        self, keys: Collection[OffloadKey], req_context: ReqContext, success: bool = True
    ) -> None:
        """As `OffloadingManager.complete_store`."""
        super().complete_store(keys, req_context, success)
        self._sweep()

    def prepare_store(
        self, keys: Collection[OffloadKey], req_context: ReqContext
    ) -> PrepareStoreOutput | None:
        """As `OffloadingManager.prepare_store`."""
        output = super().prepare_store(keys, req_context)
        if output is not None:
            self._count(EVICTIONS, len(output.evicted_keys))
        return output

    def reset_cache(self) -> None:
        """As `OffloadingManager.reset_cache`."""
        super().reset_cache()
        self._lost.clear()

    def get_stats(self) -> OffloadingConnectorStats | None:
        """As `OffloadingManager.get_stats`."""
        stats = super().get_stats() or OffloadingConnectorStats()
        for name, count in self._counted.items():
            if count:
                stats.increase_counter(name, count)
                self._counted[name] = 0
        return stats

    def _count(self, name: str, count: int) -> None:
        self._counted[name] += count
        self.told[name] += count

    def _sweep(self) -> None:
        for key, again in list(self._lost.items()):
            chunk = self.policy.get(key)
            if chunk is not None and chunk.ref_cnt:
                continue
            del self._lost[key]
            if chunk is not None:
                self.policy.remove(key)
                self._num_evictable_cache_chunks -= 1
                if again:
                    self._free_chunk(chunk)
