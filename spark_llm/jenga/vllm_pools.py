"""vLLM's block pools on an `LcmPool`: one per group, which share the large pages.

    KVCacheManager.allocate_slots
      coordinator.get_num_blocks_to_allocate   needs of all groups ─► LcmPool.quotas ─► large pages wanted
      block_pool.get_num_free_blocks           large pages that are empty or evictable   (SharedPages)
      coordinator.allocate_new_blocks          LcmPool.allocate_all for all groups at once, then each
                                               manager takes its own from `TypePool.get_new_blocks`
    touch, free_blocks                         LcmPool.use, LcmPool.free with an eviction key

vLLM asks group by group, which might leave the last without a page when memory is scarce; so the pages of a
step are taken for all groups first. What the managers leave of them (they count upper bounds) goes back.
A row's large pages are its own, or its wave's (`association`).

Source: vLLM 0.32, v1/core/kv_cache_coordinator.py, v1/core/block_pool.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vllm.v1.core.block_pool import BlockHashToBlockMap, BlockPool
from vllm.v1.kv_cache_interface import MambaSpec

from spark_llm.jenga.association import WAVE_LARGE_PAGES, Association
from spark_llm.jenga.pages import MIN_LARGE_PAGES
from spark_llm.jenga.pool import CACHED, LcmPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from vllm.v1.core.kv_cache_coordinator import KVCacheCoordinator
    from vllm.v1.core.kv_cache_utils import KVCacheBlock

    from spark_llm.jenga.vllm_layout import JengaKVCacheConfig


class TypePool(BlockPool):
    """The blocks of one group.

    Args:
        shared: the pages of all groups.
        kind: number of the group.
        like: vLLM's pool, for its settings.
    """

    def __init__(self, shared: SharedPages, kind: int, like: BlockPool) -> None:
        super().__init__(
            shared.pages.large_pages * shared.pages.ratios[kind],
            like.enable_caching,
            like.hash_block_size,
            like.enable_kv_cache_events,
            like.metrics_collector,
        )
        self._shared, self._pages, self._kind = shared, shared.pages, kind
        self.ready: list[int] = []

    def get_new_blocks(self, num_blocks: int) -> list[KVCacheBlock]:
        """Blocks for the request whose step is being scheduled."""
        found = [self.blocks[self._take()] for _ in range(num_blocks)]
        for block in found:
            block.ref_cnt += 1
            if self.metrics_collector:
                self.metrics_collector.on_block_allocated(block)
        return found

    def _take(self) -> int:
        if self.ready:
            return self.ready.pop()
        return self._pages.allocate(self._kind, self._shared.owners[self._kind])

    def put_back(self) -> None:
        """Frees what was ready and was not taken."""
        for page in self.ready:
            self._pages.free(self._kind, page)
        self.ready = []

    def touch(self, blocks: Sequence[KVCacheBlock]) -> None:
        """Uses blocks that were hit."""
        for block in blocks:
            if block.ref_cnt == 0 and not block.is_null:
                self._pages.use(self._kind, block.block_id)
            block.ref_cnt += 1
            if self.metrics_collector:
                self.metrics_collector.on_block_accessed(block)

    def free_blocks(self, ordered_blocks: Iterable[KVCacheBlock]) -> None:
        """Blocks that a request needs no more; those of other groups go to their pools."""
        others: dict[Any, list[KVCacheBlock]] = {}
        for block in ordered_blocks:
            if block.pool is not self:
                others.setdefault(block.pool, []).append(block)
                continue
            block.ref_cnt -= 1
            if block.ref_cnt == 0 and not block.is_null:
                hit = self.enable_caching and block.block_hash is not None
                # One access has one time in all groups, and the end of a prefix leaves before its front.
                key = (float(self._shared.clock), -float(block.block_hash_num_tokens or 0)) if hit else None
                self._pages.free(self._kind, block.block_id, key)
        for pool, blocks in others.items():
            pool.free_blocks(blocks)

    def evicted(self, page: int) -> None:
        """The pages gave this block to someone else."""
        self._maybe_evict_cached_block(self.blocks[page])

    def evict_blocks(self, block_ids: set[int]) -> None:
        """Blocks that may be hit no more."""
        for page in block_ids:
            self._maybe_evict_cached_block(self.blocks[page])
            if self._pages.state(self._kind, page) == CACHED:
                self._pages.drop(self._kind, page)

    def get_num_free_blocks(self) -> int:
        """Blocks that could be had if no other group took any."""
        return self._pages.free_pages(self._kind)

    def reset_prefix_cache(self) -> bool:
        """Forgets all that could be hit; refused while a block is in use."""
        if self._pages.used_pages(self._kind):
            return False
        for page in range(len(self.blocks)):
            if self._pages.state(self._kind, page) == CACHED:
                self._pages.drop(self._kind, page)
            self.blocks[page].reset_hash()
        self.cached_block_hash_to_block = BlockHashToBlockMap()
        self.cached_block_hashes_by_block.clear()
        if self.metrics_collector:
            self.metrics_collector.reset()
        return True


class SharedPages:
    """Stands where vLLM keeps its one `BlockPool`; its blocks are large pages.

    Args:
        config: the layout.
        like: vLLM's pool.
    """

    def __init__(self, config: JengaKVCacheConfig, like: BlockPool) -> None:
        # The null blocks of all groups lie in the first large page.
        self.pages = LcmPool(config.num_blocks, config.ratios, reserved=1, on_evict=self._evicted)
        self.owners: Sequence[Any] = [None] * len(config.ratios)
        self.clock = 0
        # Of a small pool a large wave would hold most, holes and all, until its last row ends.
        wave_large_pages = max(1, min(WAVE_LARGE_PAGES, config.num_blocks // MIN_LARGE_PAGES))
        self.association = Association(config.ratios, config.expected_pages, wave_large_pages)
        self._running: set[str] = set()
        self._token_ratios = [
            ratio
            for ratio, group in zip(config.ratios, config.kv_cache_groups, strict=True)
            if not isinstance(group.kv_cache_spec, MambaSpec)
        ]
        self.pools = tuple(TypePool(self, kind, like) for kind in range(len(config.ratios)))
        self.null_block = self.pools[0].null_block
        self.num_gpu_blocks = config.num_blocks
        self.needs: tuple[int, ...] = ()

    def _evicted(self, kind: int, page: int) -> None:
        self.pools[kind].evicted(page)

    def get_num_free_blocks(self) -> int:
        """Large pages that are empty or evictable."""
        return self.pages.free_large_pages

    def free_token_blocks(self) -> int:
        """Blocks of tokens that rows could still fill, each in all groups that keep tokens.

        vLLM's own count means about this where there is one group; speculation asks for it.
        """
        per_block = sum(1 / ratio for ratio in self._token_ratios)
        return int(self.pages.free_large_pages / per_block)

    def get_usage(self) -> float:
        """Share of the large pages that hold a block in use."""
        return 1.0 - self.pages.free_large_pages / max(int(self.num_gpu_blocks) - 1, 1)

    def free_blocks(self, blocks: Iterable[KVCacheBlock]) -> None:
        """As `TypePool.free_blocks`."""
        self.pools[0].free_blocks(blocks)

    def take_events(self) -> list[Any]:
        """None: events are refused where the layout is chosen."""
        return []

    def wanted(self, needs: Sequence[int], hits: Iterable[tuple[int, int]]) -> int:
        """Large pages that these small ones take at most, more than there are when they do not fit."""
        self.needs = tuple(needs)
        quotas = self.pages.quotas(needs, hits)
        return self.num_gpu_blocks + 1 if quotas is None else sum(quotas)

    def begin(self, request_id: str) -> None:
        """What is taken from now on is for this request."""
        self._running.add(request_id)
        self.owners = self.association.admit(request_id)

    def prepare(self) -> None:
        """Takes the pages of a step, which `wanted` has counted, for all groups."""
        if not any(self.needs):
            return
        for pool, ready in zip(self.pools, self.pages.allocate_all(self.needs, self.owners), strict=True):
            pool.ready = ready[::-1]

    def settle(self) -> None:
        """The managers have what they wanted."""
        for pool in self.pools:
            pool.put_back()

    def finished(self, request_id: str) -> None:
        """The request is done, or preempted."""
        self.clock += 1
        if request_id in self._running:
            self._running.discard(request_id)
            self.association.finish(request_id, self.pages)


def install(coordinator: KVCacheCoordinator, config: JengaKVCacheConfig) -> SharedPages:
    """Puts the pools into a coordinator that vLLM has just made."""
    shared = SharedPages(config, coordinator.block_pool)
    for manager, pool in zip(coordinator.single_type_managers, shared.pools, strict=True):
        manager.block_pool, manager._null_block = pool, pool.null_block  # noqa: SLF001  set at its start only
    coordinator.block_pool = shared
    if hasattr(coordinator, "verify_and_split_kv_cache_groups"):
        # Groups of one spec are looked up together where they share a pool; they no longer do.
        coordinator.verify_and_split_kv_cache_groups()
    _bind(coordinator, shared)
    return shared


def _bind(coordinator: KVCacheCoordinator, shared: SharedPages) -> None:
    """Replaces methods of this one coordinator; its class stays as it is."""
    new_blocks = coordinator.allocate_new_blocks
    computed_blocks = coordinator.allocate_new_computed_blocks

    def get_num_blocks_to_allocate(  # noqa: PLR0913, PLR0917  vLLM's signature
        request_id: str,
        num_tokens: int,
        new_computed_blocks: tuple[Sequence[KVCacheBlock], ...],
        num_encoder_tokens: int,  # noqa: ARG001  models with an encoder are refused
        total_computed_tokens: int,
        num_local_computed_tokens: int,
        num_tokens_main_model: int,
        apply_admission_cap: bool = False,
        prefill_end: int = 0,
    ) -> int:
        if coordinator.retention_interval != 0:
            prefill_end = 0
        needs: list[int] = []
        hits: list[tuple[int, int]] = []
        for kind, manager in enumerate(coordinator.single_type_managers):
            hit = new_computed_blocks[kind]
            skipped = max(manager.get_num_skipped_tokens(total_computed_tokens), 0) // manager.block_size
            idle = [block for block in hit[skipped:] if block.ref_cnt == 0 and not block.is_null]
            blocks = manager.get_num_blocks_to_allocate(
                request_id,
                num_tokens,
                hit,
                total_computed_tokens,
                num_local_computed_tokens,
                num_tokens_main_model,
                apply_admission_cap=apply_admission_cap,
                prefill_end=prefill_end,
            )
            needs.append(max(blocks - len(idle), 0))
            hits += ((kind, block.block_id) for block in idle)
        return shared.wanted(needs, hits)

    def allocate_new_computed_blocks(request_id: str, *args: Any, **kwargs: Any) -> None:
        shared.begin(request_id)
        computed_blocks(request_id, *args, **kwargs)

    def allocate_new_blocks(request_id: str, *args: Any, **kwargs: Any) -> Any:
        shared.begin(request_id)
        shared.prepare()
        found = new_blocks(request_id, *args, **kwargs)
        shared.settle()
        return found

    coordinator.get_num_blocks_to_allocate = get_num_blocks_to_allocate
    coordinator.allocate_new_computed_blocks = allocate_new_computed_blocks
    coordinator.allocate_new_blocks = allocate_new_blocks
    coordinator.free = _then(coordinator.free, shared.finished)
    coordinator.pop_blocks_for_free = _then(coordinator.pop_blocks_for_free, shared.finished)


def _then(first: Callable[[str], Any], then: Callable[[str], None]) -> Callable[[str], Any]:
    def both(request_id: str) -> Any:
        found = first(request_id)
        then(request_id)
        return found

    return both
