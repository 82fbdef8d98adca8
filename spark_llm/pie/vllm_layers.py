"""Layer swap in vLLM: a worker that plans more blocks than near memory holds, and lays them out.

    --worker-cls spark_llm.pie.vllm_layers_cpu.LayerSwapWorker | vllm_layers_gpu.LayerSwapWorker
    --kv-transfer-config {"kv_connector": "LayerSwapConnector", …}
    --additional-config {"spark_llm": {"swap": {"mode": "layers", "expansion": 2, "host_bytes": …}}}

    determine_available_memory()    vLLM's bytes ─► bytes of all blocks, wherever they are
    initialize_from_config()        layers share pages (`shared_pages`), which the connector rotates

Source: vLLM 0.32, v1/worker/gpu_worker.py, v1/worker/utils.py (`allocate_kv_cache`).
"""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any, Final

from spark_llm.engine.swap_layers_args import CONNECTOR
from spark_llm.pie.aliased import GRANULE_BYTES, AliasedMemory, is_supported
from spark_llm.pie.copier import EmulatedLink
from spark_llm.pie.shared_pages import Room, SharedPages
from spark_llm.smartspec.vllm_plugin import settings_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from vllm.config import VllmConfig
    from vllm.v1.kv_cache_interface import KVCacheConfig, KVCacheSpec

PART: Final = "swap"
MODE: Final = "layers"
# Drafters without layers of their own.
DRAFTERS: Final = ("ngram", "suffix", "custom_class")
# Layouts of which a block of one layer is one run of bytes.
LAYOUTS: Final = ("LBHNC", "LBNHC")


def settings_of_swap(vllm_config: VllmConfig) -> dict[str, Any]:
    """Our part of `additional_config`.

    Raises:
        ValueError: the engine has our worker or connector, but not our part.
    """
    settings = settings_of(vllm_config, PART)
    if settings is None or settings.get("mode") != MODE:
        raise ValueError(
            f"layer swap needs additional_config.spark_llm.{PART} with mode={MODE}, expansion and host_bytes"
        )
    return settings


def link_of(settings: Mapping[str, Any]) -> EmulatedLink | None:
    """The link that tests emulate."""
    return EmulatedLink(**settings["link"]) if settings.get("link") else None


def refusal(vllm_config: VllmConfig) -> str | None:
    """Why an engine cannot swap layers, None when it can; what its layers are is for `misfit`."""
    parallel, cache = vllm_config.parallel_config, vllm_config.cache_config
    transfer, speculation = vllm_config.kv_transfer_config, vllm_config.speculative_config
    if transfer is None or transfer.kv_connector != CONNECTOR:
        return f"its KV connector is {transfer and transfer.kv_connector}, not {CONNECTOR}"
    if cache.kv_offloading_size is not None:
        return "kv_offloading_size keeps blocks on the host as well; spark.llm.swap.mode=blocks does that"
    if parallel.world_size > 1:
        return f"it is spread over {parallel.world_size} devices; only one was ever tried"
    if getattr(parallel, "enable_dbo", False):
        return "it splits steps into two that overlap"
    if speculation is not None and speculation.method not in DRAFTERS:
        return f"its drafts come from a model ({speculation.method}), whose layers come after the last turn"
    if cache.prefix_match_unit is not None:
        return "prefix_match_unit copies parts of blocks in near memory only"
    return None


def misfit(specs: Iterable[KVCacheSpec], shared_layers: Mapping[str, str]) -> str | None:
    """Why these layers cannot take turns, None when they can.

    Args:
        specs: of all layers.
        shared_layers: layers that read another layer's keys and values, long after its turn.
    """
    from vllm.v1.kv_cache_interface import FullAttentionSpec

    kinds = list(specs)
    for spec in kinds:
        if type(spec) is not FullAttentionSpec:
            return f"it has layers of the kind {type(spec).__name__}, not only full attention"
        if spec.sliding_window is not None or spec.attention_chunk_size is not None:
            return "some of its layers keep a window only"
        if spec.page_size_padded is not None:
            return "its pages are padded"
    if len({spec.page_size_bytes for spec in kinds}) != 1:
        return "its layers have pages of different sizes or types"
    if shared_layers:
        return "some of its layers read the keys and values of others"
    return None


def checked(reason: str | None) -> None:
    """Refuses to start.

    Raises:
        ValueError: there is a reason.
    """
    if reason is not None:
        raise ValueError(f"spark.llm.swap.mode={MODE} cannot be had by this engine: {reason}")


def is_aliased() -> bool:
    """Whether swapped layers keep own pages too; a GPU's would need its virtual memory API."""
    from vllm.platforms import current_platform

    return is_supported() and current_platform.device_type == "cpu"


def room_of(vllm_config: VllmConfig, layers: int, page_bytes: int) -> Room:
    """What layers share."""
    settings = settings_of_swap(vllm_config)
    return Room.of_bytes(
        layers,
        float(settings["expansion"]),
        host_bytes=int(settings["host_bytes"]),
        page_bytes=page_bytes,
        granule_bytes=GRANULE_BYTES if is_aliased() else None,
    )


def pages_of(vllm_config: VllmConfig, config: KVCacheConfig) -> SharedPages:
    """How the layers of a config share pages; scheduler and worker get the same."""
    (group,) = config.kv_cache_groups
    room = room_of(vllm_config, len(group.layer_names), int(group.kv_cache_spec.page_size_bytes))
    return room.pages(config.num_blocks)


def in_order(names: Iterable[str]) -> list[str]:
    """Layers by their turn."""
    from vllm.model_executor.models.utils import extract_layer_index

    return sorted(names, key=extract_layer_index)


class LayerSwapMixin:
    """Goes before a worker of vLLM's."""

    vllm_config: Any
    model_runner: Any
    device: Any

    def determine_available_memory(self) -> int:
        """Bytes of all blocks that near memory and the host hold together.

        Raises:
            ValueError: the engine cannot swap layers.
        """
        checked(refusal(self.vllm_config))
        specs = self.model_runner.get_kv_cache_spec()
        checked(misfit(specs.values(), getattr(self.model_runner, "shared_kv_cache_layers", {})))
        near_bytes: int = super().determine_available_memory()  # type: ignore[misc]
        page_bytes = int(next(iter(specs.values())).page_size_bytes)
        blocks = room_of(self.vllm_config, len(specs), page_bytes).blocks(near_bytes // page_bytes)
        return blocks * len(specs) * page_bytes

    def initialize_from_config(self, kv_cache_config: KVCacheConfig) -> None:
        """Lays out the pages.

        Raises:
            ValueError: another layout than ours was planned.
        """
        from vllm.logger import init_logger

        checked(_planned(kv_cache_config))
        pages = pages_of(self.vllm_config, kv_cache_config)
        (group,) = kv_cache_config.kv_cache_groups
        page_bytes = group.kv_cache_spec.page_size_bytes
        init_logger("vllm.spark_llm.swap").info(
            "KV cache: %d blocks, %d of them in near memory in every layer; near %.1f MiB, host %.1f MiB",
            pages.blocks, pages.resident_blocks,
            pages.near_pages * page_bytes / 2**20, pages.host_pages * page_bytes / 2**20,
        )  # fmt: skip
        if pages.resident_blocks:
            memory = AliasedMemory(pages, page_bytes)
            layers = [layer * memory.layer_bytes for layer in range(pages.turns.layers)]
            laid_out = _config(kv_cache_config, layers, page_bytes, len(layers) * memory.layer_bytes)
            with _allocated_in(memory.tensor()):
                super().initialize_from_config(laid_out)  # type: ignore[misc]
        else:
            owners = [pages.segments(layer)[0][0] for layer in range(pages.turns.layers)]
            places = {owner: at for at, owner in enumerate(dict.fromkeys(owners))}
            region = pages.blocks * page_bytes
            laid_out = _config(
                kv_cache_config,
                [places[owner] * region for owner in owners],
                page_bytes,
                len(places) * region,
            )
            super().initialize_from_config(laid_out)  # type: ignore[misc]


def _planned(config: KVCacheConfig) -> str | None:
    from vllm.v1.kv_cache_interface import KVCacheConfig as VllmsOwn

    if type(config) is not VllmsOwn:
        return "spark.llm.memory.allocator=jenga lays out its pages"
    if len(config.kv_cache_groups) != 1:
        return f"its layers are in {len(config.kv_cache_groups)} groups, each with blocks of its own"
    layout = config.kv_cache_layout
    if layout is not None and layout not in LAYOUTS:
        return f"its KV cache layout is {layout}, of which a layer's block is not one piece: {LAYOUTS}"
    return None


def _config(config: KVCacheConfig, offsets: list[int], page_bytes: int, size: int) -> KVCacheConfig:
    from vllm.v1.kv_cache_interface import KVCacheTensor

    (group,) = config.kv_cache_groups
    tensors = [
        KVCacheTensor(
            size=size,
            layers=[name],
            layer_stride=config.num_blocks * page_bytes,
            block_stride=page_bytes,
            offset=offset,
        )
        for name, offset in zip(in_order(group.layer_names), offsets, strict=True)
    ]
    return dataclasses.replace(config, kv_cache_tensors=tensors)


@contextlib.contextmanager
def _allocated_in(memory: Any) -> Iterator[None]:
    """Has vLLM's runner take its KV cache from this memory."""
    from vllm.v1.kv_cache_interface import create_kv_cache_views
    from vllm.v1.worker import gpu_model_runner

    def allocate_kv_cache(config: Any, device: Any, layout: Any, kernel_block_sizes: Any = None) -> Any:  # noqa: ARG001
        (group,) = config.kv_cache_groups
        views = {}
        for tensor in config.kv_cache_tensors:
            (views[tensor.layers[0]],) = create_kv_cache_views(
                memory, group.kv_cache_spec, config.num_blocks, layout, tensor,
                kernel_block_size=kernel_block_sizes[0] if kernel_block_sizes else None,
            )  # fmt: skip
        return views

    vllms_own = gpu_model_runner.allocate_kv_cache
    gpu_model_runner.allocate_kv_cache = allocate_kv_cache
    try:
        yield
    finally:
        gpu_model_runner.allocate_kv_cache = vllms_own
