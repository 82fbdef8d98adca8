"""What our KV cache layout, pools and junctions rely on in vLLM: names, signatures, and who calls what."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("vllm")
pytestmark = pytest.mark.vllm


def parameters(function):
    return list(inspect.signature(function).parameters)


def test_the_engine_core_asks_a_name_of_its_module_for_the_layout():
    from vllm.v1.core import kv_cache_utils
    from vllm.v1.engine import core

    assert parameters(kv_cache_utils.get_kv_cache_configs) == [
        "vllm_config", "kv_cache_specs", "available_memory",
    ]  # fmt: skip
    source = inspect.getsource(core.EngineCore._initialize_kv_caches)
    assert "= get_kv_cache_configs(\n            vllm_config, kv_cache_specs, available_gpu_memory" in source
    assert "load_general_plugins()" in inspect.getsource(core.EngineCore.__init__)


def test_a_config_places_layers_by_strides_and_says_how_many_blocks_they_have():
    from vllm.v1 import kv_cache_interface as kv
    from vllm.v1.worker import utils

    fields = kv.KVCacheTensor.__dataclass_fields__
    assert {"size", "layers", "layer_stride", "block_stride", "offset"} <= set(fields)
    assert "kv_cache_config.num_blocks_of(tensor)" in inspect.getsource(utils.allocate_kv_cache)
    fields = kv.KVCacheConfig.__dataclass_fields__
    assert {"num_blocks", "kv_cache_tensors", "kv_cache_groups", "prefix_cache_retention_interval"} <= set(
        fields
    )
    assert parameters(kv.KVCacheConfig.num_blocks_of) == ["self", "tensor"]
    for name in ("num_speculative_blocks", "num_prefill_checkpoint_blocks", "mamba_cache_mode"):
        assert name in kv.MambaSpec.__dataclass_fields__
    assert {"page_size_padded", "block_size"} <= set(kv.AttentionSpec.__dataclass_fields__)


def test_a_layout_has_large_pages_that_its_groups_share():
    import torch
    from vllm.v1 import kv_cache_interface as kv

    from spark_llm.jenga.vllm_layout import config_of, layers_of, plan_of

    heads = {"num_kv_heads": 1, "head_size": 64, "dtype": torch.float32, "block_size": 32}
    full, window = kv.FullAttentionSpec(**heads), kv.SlidingWindowSpec(**heads, sliding_window=128)
    layers = layers_of({"a": full, "b": window, "c": window, "d": window})
    memory_bytes = 100 * 3 * full.page_size_bytes
    like = kv.KVCacheConfig(7, [], [], prefix_cache_retention_interval=0)
    found = config_of(layers, plan_of(layers, memory_bytes), memory_bytes, 512, like)
    assert [group.layer_names for group in found.kv_cache_groups] == [["a"], ["b", "c", "d"]]
    assert (found.num_blocks, found.ratios, found.large_bytes) == (100, (3, 1), 3 * full.page_size_bytes)
    assert [found.num_blocks_of(tensor) for tensor in found.kv_cache_tensors] == [300, 100]
    assert layers.misfit() is None
    # Where few large pages fit, the windowed layers get a block table each, and pages shrink.
    few = plan_of(layers, 10 * 3 * full.page_size_bytes)
    assert few.large_bytes == full.page_size_bytes
    assert (
        "never tried"
        in layers_of({"a": kv.ChunkedLocalAttentionSpec(**heads, attention_chunk_size=64)}).misfit()
    )
    state = kv.MambaSpec(block_size=32, shapes=((8,),), dtypes=(torch.float32,), mamba_cache_mode="align")
    assert "several kinds" in layers_of({"a": full, "b": window, "c": state}).misfit()
    assert layers_of({"a": full, "c": state}).misfit() is None


def test_what_is_replaced_of_a_coordinator():
    from vllm.v1.core import kv_cache_coordinator as coordinators
    from vllm.v1.core.kv_cache_manager import KVCacheManager

    one = coordinators.KVCacheCoordinator
    assert parameters(one.get_num_blocks_to_allocate) == [
        "self", "request_id", "num_tokens", "new_computed_blocks", "num_encoder_tokens",
        "total_computed_tokens", "num_local_computed_tokens", "num_tokens_main_model",
        "apply_admission_cap", "prefill_end",
    ]  # fmt: skip
    for name in ("allocate_new_blocks", "allocate_new_computed_blocks", "free", "pop_blocks_for_free"):
        assert parameters(getattr(one, name))[:2] == ["self", "request_id"], name
    assert parameters(coordinators.HybridKVCacheCoordinator.verify_and_split_kv_cache_groups) == ["self"]
    source = inspect.getsource(KVCacheManager.allocate_slots)
    # Counting comes before taking, and the last count is of the step itself.
    counted = source.rindex("coordinator.get_num_blocks_to_allocate(")
    free = source.index("available_blocks = self.block_pool.get_num_free_blocks() - reserved_blocks")
    taken = source.index("self.coordinator.allocate_new_blocks(")
    assert counted < free < source.index("self.coordinator.allocate_new_computed_blocks(") < taken


def test_what_fits_is_told_after_the_layout():
    from vllm.v1.core import kv_cache_utils
    from vllm.v1.engine import core

    source = inspect.getsource(core.EngineCore._initialize_kv_caches)
    assert "update_kv_cache_capacity(vllm_config, scheduler_kv_cache_config)" in source
    assert hasattr(core, "update_kv_cache_capacity")
    source = inspect.getsource(kv_cache_utils.update_kv_cache_capacity)
    for name in ("kv_cache_size_tokens", "kv_cache_max_concurrency"):
        assert f"vllm_config.cache_config.{name} = " in source


def test_what_a_pool_is_asked_for():
    from vllm.v1.core.block_pool import BlockPool

    from spark_llm.jenga.vllm_pools import SharedPages, TypePool

    for name in (
        "get_new_blocks", "touch", "free_blocks", "evict_blocks", "get_num_free_blocks", "reset_prefix_cache",
    ):  # fmt: skip
        assert parameters(getattr(BlockPool, name)) == parameters(getattr(TypePool, name)), name
    for name in ("get_num_free_blocks", "get_usage", "take_events"):
        assert parameters(getattr(BlockPool, name)) == parameters(getattr(SharedPages, name)), name
    assert parameters(BlockPool.__init__)[1:6] == [
        "num_gpu_blocks", "enable_caching", "hash_block_size", "enable_kv_cache_events", "metrics_collector",
    ]  # fmt: skip
    assert "block.pool is not self" in inspect.getsource(BlockPool.free_blocks)


def test_what_is_refused_is_named_as_vllm_names_it():
    from vllm.config import CacheConfig, SchedulerConfig, VllmConfig

    fields = VllmConfig.__dataclass_fields__
    assert {"kv_transfer_config", "kv_events_config", "lora_config", "speculative_config"} <= set(fields)
    fields = CacheConfig.__dataclass_fields__
    assert {"kv_offloading_size", "prefix_match_unit", "num_gpu_blocks_override"} <= set(fields)
    assert "disable_hybrid_kv_cache_manager" in SchedulerConfig.__dataclass_fields__


def test_a_shared_prefix_ends_the_chunk_and_keeps_its_state():
    from vllm.v1.core.sched.scheduler import Scheduler
    from vllm.v1.core.single_type_kv_cache_manager import SingleTypeKVCacheManager

    from spark_llm.jenga.vllm_junctions import JunctionMixin

    for name in ("_get_local_prefix_cache_hit", "_mamba_block_aligned_split", "_free_request"):
        assert parameters(getattr(Scheduler, name)) == parameters(getattr(JunctionMixin, name)), name
    assert "junction = request.shared_prefix_boundary" in inspect.getsource(
        Scheduler._mamba_block_aligned_split
    )
    source = inspect.getsource(SingleTypeKVCacheManager.cache_blocks)
    assert "reachable_boundaries.append(request.shared_prefix_boundary)" in source
    assert "self.mamba_partial_cache_hit" in inspect.getsource(Scheduler.__init__)


def test_the_queue_of_free_blocks():
    import vllm
    from vllm.v1.core.block_pool import BlockPool
    from vllm.v1.core.kv_cache_utils import FreeKVCacheBlockQueue

    from spark_llm.jenga.vllm_queue import UsesQueue

    root = Path(vllm.__file__).parent / "v1"
    called = {
        name
        for file in root.rglob("*.py")
        for name in re.findall(r"free_block_queue\.(\w+)", file.read_text(encoding="utf-8"))
    }
    # `simple_kv_offload` walks the list: with a connector the queue stays vLLM's.
    assert called == {"popleft", "popleft_n", "append_n", "prepend_n", "remove", "num_free_blocks"}
    for name in ("popleft", "popleft_n", "remove", "append", "append_n", "prepend_n", "get_all_free_blocks"):
        assert parameters(getattr(FreeKVCacheBlockQueue, name)) == parameters(getattr(UsesQueue, name)), name
    # A hash goes when a block is handed out, not while it is free.
    source = inspect.getsource(BlockPool.get_new_blocks)
    assert source.index("popleft_n") < source.index("_maybe_evict_cached_block")


def test_what_rows_tell_reaches_the_scheduler():
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat
    from vllm.v1.core.sched.scheduler import Scheduler

    from spark_llm.engine.wire import USES_ARGUMENT
    from spark_llm.jenga.vllm_uses import UsesMixin, told_of

    told = [f"{0:032x} 1", 40, 3, 1, 70, 0, 0]
    asked = ChatCompletionRequest(messages=[{"role": "user", "content": "x"}])
    asked = asked.model_copy(update={"vllm_xargs": {USES_ARGUMENT: told}})
    sampling = asked.to_sampling_params(8, {})
    request = SimpleNamespace(sampling_params=sampling, block_hashes=[b"a", b"b"])
    assert told_of(request, 16) == (told[0], [(2, 3, 1), (2, 0, 0)])
    assert told_of(request, 64) == (told[0], [(1, 0, 0)])
    for name in ("add_request", "_free_request"):
        assert parameters(getattr(Scheduler, name)) == parameters(getattr(UsesMixin, name)), name
    for name in ("_preempt_request", "reset_prefix_cache"):
        assert hasattr(Scheduler, name)
    # The end of a row gives its blocks back, and so does a preemption.
    assert "self.kv_cache_manager.free(request)" in inspect.getsource(Scheduler._free_request_blocks)
    assert parameters(OpenAIServingChat.render_chat_request) == ["self", "request"]
