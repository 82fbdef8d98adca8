"""Layer swap in vLLM: the connector that says which blocks a step touches, and rotates the slots' content.

    scheduler   build_connector_meta()       blocks that rows read and write in the step
    worker      bind_connector_metadata()    LayerSwap.begin
                save_kv_layer(i)             LayerSwap.after(i): store, next layer's load, wait for i + 1
                wait_for_save()              stalls and bytes of the step ─► scheduler (`vllm_admission`)

`wait_for_layer_load(i)` would be too late: layer i's new keys and values are written before the attention
that calls it. `start_load_kv` comes after the forward pass unless a request's loads say otherwise.

Source: vLLM 0.32, distributed/kv_transfer/kv_connector/v1/base.py.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from vllm.distributed.kv_transfer.kv_connector.v1.base import (
    KVConnectorBase_V1,
    KVConnectorMetadata,
    KVConnectorRole,
    KVConnectorWorkerMetadata,
    SupportsHMA,
)

from spark_llm.pie.copier import CopyFigures, ThreadCopier
from spark_llm.pie.layer_swap import LayerSwap
from spark_llm.pie.vllm_layers import in_order, link_of, pages_of, settings_of_swap

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from vllm.config import VllmConfig
    from vllm.v1.core.kv_cache_manager import KVCacheBlocks
    from vllm.v1.core.sched.output import SchedulerOutput
    from vllm.v1.kv_cache_interface import KVCacheConfig
    from vllm.v1.outputs import KVConnectorOutput
    from vllm.v1.request import Request

    from spark_llm.pie.copier import Copier

_NONE: NDArray[np.int64] = np.empty(0, np.int64)


@dataclass
class StepBlocks(KVConnectorMetadata):
    """Ascending ids of the shared blocks of a step.

    Attributes:
        read: that have keys and values which the step reads.
        written: that the step appends to.
    """

    read: NDArray[np.int64] = field(default_factory=lambda: _NONE)
    written: NDArray[np.int64] = field(default_factory=lambda: _NONE)


@dataclass
class SwapFigures(KVConnectorWorkerMetadata):
    """What swap did since the engine started.

    Attributes:
        copies: bytes, and seconds of copies and of stalls.
        forward_s: from the first to the last layer of all steps, stalls included.
        steps: that touched a shared block.
    """

    copies: CopyFigures
    forward_s: float = 0.0
    steps: int = 0

    def aggregate(self, other: KVConnectorWorkerMetadata) -> KVConnectorWorkerMetadata:
        """There is one worker."""
        return other


class LayerSwapConnector(KVConnectorBase_V1, SupportsHMA):
    """See the module."""

    def __init__(
        self, vllm_config: VllmConfig, role: KVConnectorRole, kv_cache_config: KVCacheConfig
    ) -> None:
        super().__init__(vllm_config, role, kv_cache_config)
        self.pages = pages_of(vllm_config, kv_cache_config)
        self.figures = SwapFigures(CopyFigures())
        self._settings = settings_of_swap(vllm_config)
        (group,) = kv_cache_config.kv_cache_groups
        self._block_tokens = int(group.kv_cache_spec.block_size)
        self._page_bytes = int(group.kv_cache_spec.page_size_bytes)
        speculation = vllm_config.speculative_config
        # With async scheduling the scheduler counts drafts as computed that may be rejected.
        self._uncertain_tokens = speculation.num_speculative_tokens if speculation is not None else 0

    @classmethod
    def requires_piecewise_for_cudagraph(cls, extra_config: dict[str, Any]) -> bool:  # noqa: ARG003
        """Whether layers must stay visible to the host."""
        return True

    # The scheduler's side.

    def get_num_new_matched_tokens(self, request: Request, num_computed_tokens: int) -> tuple[int, bool]:  # noqa: ARG002
        """Nothing: host memory has no block that the engine does not have."""
        return 0, False

    def update_state_after_alloc(
        self, request: Request, blocks: KVCacheBlocks, num_external_tokens: int
    ) -> None:
        """Nothing to do."""

    def request_finished_all_groups(
        self,
        request: Request,  # noqa: ARG002
        block_ids: tuple[list[int], ...],  # noqa: ARG002
    ) -> tuple[bool, dict[str, Any] | None]:
        """Blocks are free at once."""
        return False, None

    def build_connector_meta(self, scheduler_output: SchedulerOutput) -> StepBlocks:
        """The shared blocks of a step.

        Raises:
            RuntimeError: vLLM copies a block in near memory, where it may not be.
        """
        if scheduler_output.kv_cache_block_copies:
            raise RuntimeError("spark.llm.swap.mode=layers: a block was to be copied in near memory")
        computed = {each.req_id: each.num_computed_tokens for each in scheduler_output.scheduled_new_reqs}
        cached = scheduler_output.scheduled_cached_reqs
        computed.update(zip(cached.req_ids, cached.num_computed_tokens, strict=True))
        read: set[int] = set()
        written: set[int] = set()
        size, first = self._block_tokens, self.pages.resident_blocks
        for name, count in scheduler_output.num_scheduled_tokens.items():
            (blocks,) = scheduler_output.kv_connector_block_state.get_block_ids(name)
            if max(blocks) < first:
                continue
            begin = computed[name]
            read.update(blocks[: -(-begin // size)])
            surely = max(begin - self._uncertain_tokens, 0)
            written.update(blocks[surely // size : -(-(begin + count) // size)])
        return StepBlocks(self._shared(read), self._shared(written))

    def _shared(self, blocks: set[int]) -> NDArray[np.int64]:
        found = np.fromiter(blocks, np.int64, len(blocks))
        # Block 0 is vLLM's place for nothing.
        return np.sort(found[found >= max(self.pages.resident_blocks, 1)])

    def update_connector_output(self, connector_output: KVConnectorOutput) -> None:
        """Takes the worker's figures."""
        if isinstance(connector_output.kv_connector_worker_meta, SwapFigures):
            self.figures = connector_output.kv_connector_worker_meta

    # The worker's side.

    def register_kv_caches(self, kv_caches: dict[str, Any]) -> None:
        """Gets the near memory.

        Raises:
            ValueError: it is not laid out as planned.
        """
        names = in_order(kv_caches)
        self._layers = {name: layer for layer, name in enumerate(names)}
        near = {layer: self._near(kv_caches[names[layer]]) for layer in self.pages.turns.swapped}
        self._copier = self._copier_of(near)
        self._swap = LayerSwap(self.pages, self._copier)
        self._begin_s, self._forward_s, self._steps = 0.0, 0.0, 0

    def _near(self, cache: Any) -> Any:
        import torch

        blocks, page_bytes = self.pages.blocks, self._page_bytes
        if (
            cache.shape[0] % blocks
            or cache.stride(0) * cache.element_size() * (cache.shape[0] // blocks) != page_bytes
        ):
            raise ValueError(
                f"a KV cache of shape {tuple(cache.shape)}, strides {cache.stride()} and type {cache.dtype} "
                f"is not {blocks} blocks of {page_bytes} bytes one after the other"
            )
        rows = torch.empty(0, dtype=torch.int8, device=cache.device)
        begin = cache.storage_offset() * cache.element_size()
        return rows.set_(cache.untyped_storage(), begin, (blocks, page_bytes), (page_bytes, 1))

    def _copier_of(self, near: Mapping[int, Any]) -> Copier:
        if next(iter(near.values())).is_cuda:
            from spark_llm.pie.copier_cuda import StreamCopier

            return StreamCopier(near, self.pages.resident_blocks)
        return ThreadCopier(near, self.pages.resident_blocks, link_of(self._settings))

    def bind_connector_metadata(self, connector_metadata: StepBlocks) -> None:
        """A step begins."""
        super().bind_connector_metadata(connector_metadata)
        self._swap.begin(connector_metadata.read, connector_metadata.written)
        self._begin_s = time.perf_counter()

    def start_load_kv(self, forward_context: Any, **kwargs: Any) -> None:
        """Nothing: too late, see the module."""

    def wait_for_layer_load(self, layer_name: str) -> None:
        """Nothing: too late, see the module."""

    def save_kv_layer(self, layer_name: str, kv_layer: Any, attn_metadata: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """A layer's turn is over."""
        self._swap.after(self._layers[layer_name])

    def wait_for_save(self) -> None:
        """A step ends; what it has written may still be on its way."""
        self._forward_s += time.perf_counter() - self._begin_s
        self._steps += bool(self._swap.is_moving)

    def build_connector_worker_meta(self) -> SwapFigures:
        """The figures so far."""
        return SwapFigures(self._copier.figures(), self._forward_s, self._steps)

    def shutdown(self) -> None:
        """Ends the copies."""
        if (copier := getattr(self, "_copier", None)) is not None:
            copier.close()
