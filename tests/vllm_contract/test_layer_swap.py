"""What layer swap relies on in vLLM: names, signatures, and the order in which a step calls them."""

from __future__ import annotations

import inspect
from types import SimpleNamespace

import pytest

pytest.importorskip("vllm")
pytestmark = pytest.mark.vllm


def parameters(function):
    return list(inspect.signature(function).parameters)


def test_a_worker_says_how_much_memory_there_is_and_is_told_the_layout():
    from vllm.v1.worker.cpu_worker import CPUWorker
    from vllm.v1.worker.gpu_worker import Worker

    assert parameters(CPUWorker.determine_available_memory) == ["self"]
    assert parameters(Worker.initialize_from_config) == ["self", "kv_cache_config"]
    assert "initialize_from_config" not in vars(CPUWorker)
    assert "ensure_kv_transfer_initialized(self.vllm_config, kv_cache_config)" in inspect.getsource(
        Worker.initialize_from_config
    )


def test_a_runner_asks_a_name_of_its_module_for_its_memory():
    from vllm.v1.kv_cache_interface import create_kv_cache_views
    from vllm.v1.worker import gpu_model_runner
    from vllm.v1.worker.utils import allocate_kv_cache

    assert parameters(allocate_kv_cache) == [
        "kv_cache_config", "device", "layout", "kernel_block_sizes",
    ]  # fmt: skip
    assert parameters(create_kv_cache_views) == [
        "raw", "spec", "num_blocks", "layout", "kv_cache_tensor", "kernel_block_size",
    ]  # fmt: skip
    source = inspect.getsource(gpu_model_runner.GPUModelRunner.initialize_kv_cache_tensors)
    assert "kv_caches = allocate_kv_cache(" in source
    assert "shared_kv_cache_layers" in source


def test_a_connector_may_have_layers_wait_for_one_another():
    from vllm.distributed.kv_transfer.kv_connector.v1 import base
    from vllm.v1.worker.kv_connector_model_runner_mixin import KVConnectorModelRunnerMixin

    from spark_llm.pie.vllm_layers_connector import LayerSwapConnector

    assert not LayerSwapConnector.__abstractmethods__
    for name in (
        "bind_connector_metadata", "register_kv_caches", "save_kv_layer", "wait_for_layer_load", "wait_for_save",
        "build_connector_meta", "build_connector_worker_meta", "update_connector_output", "shutdown",
        "get_num_new_matched_tokens", "update_state_after_alloc", "requires_piecewise_for_cudagraph",
    ):  # fmt: skip
        ours, vllms = getattr(LayerSwapConnector, name), getattr(base.KVConnectorBase_V1, name)
        assert parameters(ours) == parameters(vllms), name
    assert parameters(base.SupportsHMA.request_finished_all_groups) == ["self", "request", "block_ids"]
    # Before the pass, after it.
    source = inspect.getsource(KVConnectorModelRunnerMixin._get_kv_connector_output)
    assert (
        source.index("kv_connector.bind_connector_metadata(")
        < source.index("yield output")
        < source.index("kv_connector.wait_for_save()")
        < source.index("kv_connector.build_connector_worker_meta()")
    )


def test_a_layers_keys_are_written_before_its_attention_which_tells_the_connector():
    from vllm.distributed.kv_transfer import kv_connector  # noqa: F401
    from vllm.model_executor.layers.attention import attention, kv_transfer_utils

    source = inspect.getsource(kv_transfer_utils.maybe_transfer_kv_layer)
    assert source.index("wait_for_layer_load(") < source.index(
        "save_kv_layer(layer_name, kv_cache, attn_metadata)"
    )
    assert "@maybe_transfer_kv_layer\ndef unified_attention_with_output(" in inspect.getsource(attention)
    source = inspect.getsource(attention.Attention.forward)
    assert source.index("unified_kv_cache_update(") < source.index("unified_attention_with_output(")


def test_a_step_says_what_its_rows_have_computed_and_where():
    from vllm.v1.core.sched import output

    fields = output.SchedulerOutput.__dataclass_fields__
    assert {
        "num_scheduled_tokens", "scheduled_new_reqs", "scheduled_cached_reqs", "kv_connector_block_state",
        "kv_cache_block_copies",
    } <= set(fields)  # fmt: skip
    assert "num_computed_tokens" in output.NewRequestData.__dataclass_fields__
    assert {"req_ids", "num_computed_tokens"} <= set(output.CachedRequestData.__dataclass_fields__)
    assert parameters(output.KVConnectorBlockState.get_block_ids) == ["self", "req_id"]


def test_a_pools_free_blocks_are_those_of_its_queue():
    from vllm.v1.core.block_pool import BlockPool
    from vllm.v1.core.kv_cache_utils import FreeKVCacheBlockQueue
    from vllm.v1.core.sched.scheduler import Scheduler

    from spark_llm.pie.vllm_admission import NearFirstQueue

    assert "return self.free_block_queue.num_free_blocks" in inspect.getsource(BlockPool.get_num_free_blocks)
    assert parameters(BlockPool.evict_blocks) == ["self", "block_ids"]
    assert "reset_prefix_cache" in vars(Scheduler)
    used = {line.split("free_block_queue.")[1].split("(")[0].split("\n")[0]
            for line in inspect.getsource(BlockPool).splitlines() if "self.free_block_queue." in line}  # fmt: skip
    assert used <= set(dir(NearFirstQueue))
    for name in ("popleft", "popleft_n", "remove", "append", "append_n", "prepend_n", "get_all_free_blocks"):
        assert parameters(getattr(NearFirstQueue, name)) == parameters(
            getattr(FreeKVCacheBlockQueue, name)
        ), name


def config(**changed):
    """As much of a `VllmConfig` as is looked at."""
    parts = {
        "connector": "LayerSwapConnector", "offloading": None, "world": 1, "drafts": None, "unit": None,
    } | changed  # fmt: skip
    return SimpleNamespace(
        parallel_config=SimpleNamespace(world_size=parts["world"], enable_dbo=parts.get("dbo", False)),
        cache_config=SimpleNamespace(kv_offloading_size=parts["offloading"], prefix_match_unit=parts["unit"]),
        kv_transfer_config=SimpleNamespace(kv_connector=parts["connector"]),
        speculative_config=parts["drafts"] and SimpleNamespace(method=parts["drafts"]),
    )


def test_engines_that_cannot_are_refused_in_words():
    from vllm.config import CacheConfig, ParallelConfig, SpeculativeConfig

    from spark_llm.pie.vllm_layers import checked, refusal

    assert {"kv_offloading_size", "prefix_match_unit"} <= set(CacheConfig.__dataclass_fields__)
    assert {"world_size", "enable_dbo"} <= set(ParallelConfig.__dataclass_fields__)
    assert "method" in SpeculativeConfig.__dataclass_fields__
    assert refusal(config()) is None
    assert refusal(config(drafts="custom_class")) is None
    for changed, words in (
        ({"connector": "OffloadingConnector"}, "KV connector is OffloadingConnector"),
        ({"offloading": 4.0}, "spark.llm.swap.mode=blocks"),
        ({"world": 2}, "2 devices"),
        ({"dbo": True}, "overlap"),
        ({"drafts": "eagle"}, "a model .eagle."),
        ({"unit": 16}, "prefix_match_unit"),
    ):
        with pytest.raises(ValueError, match=words):
            checked(refusal(config(**changed)))


def test_layers_that_cannot_take_turns_are_refused_in_words():
    import torch
    from vllm.v1 import kv_cache_interface as kv

    from spark_llm.jenga.vllm_layout import JengaKVCacheConfig
    from spark_llm.pie.vllm_layers import _planned, misfit

    heads = {"num_kv_heads": 1, "head_size": 64, "dtype": torch.float32, "block_size": 32}
    full = kv.FullAttentionSpec(**heads)
    assert misfit([full, full], {}) is None
    state = kv.MambaSpec(block_size=32, shapes=((8,),), dtypes=(torch.float32,), mamba_cache_mode="align")
    for specs, shared, words in (
        ([full, kv.SlidingWindowSpec(**heads, sliding_window=128)], {}, "SlidingWindowSpec"),
        ([kv.MLAAttentionSpec(**heads)], {}, "MLAAttentionSpec"),
        ([full, state], {}, "MambaSpec"),
        ([kv.FullAttentionSpec(**heads, sliding_window=64)], {}, "window"),
        ([full, kv.FullAttentionSpec(**heads | {"head_size": 128})], {}, "different sizes"),
        ([full], {"b": "a"}, "of others"),
    ):
        assert words in misfit(specs, shared)
    group = kv.KVCacheGroupSpec(["a"], full)
    assert _planned(kv.KVCacheConfig(4, [], [group], prefix_cache_retention_interval=0)) is None
    two = kv.KVCacheConfig(4, [], [group, group], prefix_cache_retention_interval=0)
    assert "2 groups" in _planned(two)
    other = kv.KVCacheConfig(4, [], [group], prefix_cache_retention_interval=0, kv_cache_layout="BLHNC")
    assert "BLHNC" in _planned(other)
    assert "jenga" in _planned(JengaKVCacheConfig(4, [], [group], prefix_cache_retention_interval=0))
