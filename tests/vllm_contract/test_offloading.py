"""What the block tier uses of vLLM's offloading: names, signatures, and that a load may fail."""

from __future__ import annotations

import inspect
from types import SimpleNamespace

import pytest

pytest.importorskip("vllm")
pytestmark = pytest.mark.vllm

from vllm.distributed.kv_transfer.kv_connector.v1 import base  # noqa: E402
from vllm.distributed.kv_transfer.kv_connector.v1.offloading import common, worker  # noqa: E402
from vllm.distributed.kv_transfer.kv_connector.v1.offloading_connector import (  # noqa: E402
    OffloadingConnector,
)
from vllm.v1.core.sched.scheduler import Scheduler  # noqa: E402
from vllm.v1.kv_offload import base as offload  # noqa: E402
from vllm.v1.kv_offload.cpu.common import CPULoadStoreSpec  # noqa: E402
from vllm.v1.kv_offload.cpu.manager import CPUOffloadingManager  # noqa: E402
from vllm.v1.kv_offload.cpu.policies.lru import LRUCachePolicy  # noqa: E402
from vllm.v1.kv_offload.cpu.spec import CPUOffloadingSpec  # noqa: E402
from vllm.v1.kv_offload.factory import OffloadingSpecFactory  # noqa: E402

from spark_llm.pie.vllm_tier import TierConnector, TierSpec, TierWorkerMetadata  # noqa: E402
from spark_llm.pie.vllm_tier_manager import TierManager  # noqa: E402
from spark_llm.pie.vllm_tier_uses import RemainingUsesPolicy  # noqa: E402
from spark_llm.pie.vllm_tier_worker import TierWorker, places  # noqa: E402


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (TierSpec, CPUOffloadingSpec),
        (TierManager, CPUOffloadingManager),
        (TierWorker, offload.OffloadingWorker),
        (TierConnector, OffloadingConnector),
        (RemainingUsesPolicy, LRUCachePolicy),
        (TierWorkerMetadata, common.OffloadingWorkerMetadata),
    ],
)
def test_what_we_override_is_there_and_takes_the_same(ours, theirs):
    new = {"lose", "take_failed_loads", "take_unkept", "manager", "worker"}
    for name, function in vars(ours).items():
        if name.startswith("_") or not callable(getattr(ours, name)) or name in new:
            continue
        assert [*inspect.signature(getattr(theirs, name)).parameters] == [
            *inspect.signature(
                function.__func__ if isinstance(function, classmethod) else function
            ).parameters
        ][isinstance(function, classmethod) :], name


def test_a_failed_receive_is_known_to_connector_and_scheduler():
    assert "failed_recving" in base.KVConnectorTransferResults.__dataclass_fields__
    assert "_load_jobs" in inspect.getsource(worker.OffloadingConnectorWorker.__init__)
    assert hasattr(base.KVConnectorBase_V1, "get_transfer_results")
    waiting = SimpleNamespace(request_id="a", status=None, num_computed_tokens=7)
    from vllm.v1.request import RequestStatus

    waiting.status = RequestStatus.WAITING_FOR_REMOTE_KVS
    scheduler = SimpleNamespace(
        requests={"a": waiting}, recompute_kv_load_failures=True, failed_recving_kv_req_ids=set()
    )
    assert Scheduler._handle_failed_recving(scheduler, {"a", "gone"}) == set()
    assert (waiting.num_computed_tokens, scheduler.failed_recving_kv_req_ids) == (0, {"a"})


def test_the_spec_is_loaded_by_its_names():
    found = OffloadingSpecFactory.get_spec_cls(
        {"spec_name": "TierSpec", "spec_module_path": "spark_llm.pie.vllm_tier"}
    )
    assert found is TierSpec


def manager_of(chunks):
    return TierManager(chunks, "RemainingUsesPolicy", "spark_llm.pie.vllm_tier_uses")


def test_lost_chunks_are_misses_at_once_and_go_when_no_copy_uses_them():
    manager, context = manager_of(3), offload.ReqContext("row")
    a, b, c, d = (offload.make_offload_key(bytes([number]), 0) for number in range(4))
    assert list(manager.prepare_store([a, b, c], context).store_spec.block_ids) == [0, 1, 2]
    manager.complete_store([a, b, c], context)
    manager.prepare_load([a], context)
    manager.lose({0}, {2})
    assert [manager.lookup(key, context) for key in (a, b, c)] == [
        offload.LookupResult.MISS, offload.LookupResult.HIT, offload.LookupResult.MISS,
    ]  # fmt: skip
    # One is still read, one has no room on its disk: of three places none is free but b's.
    assert manager.prepare_store([c, d], context) is None
    manager.complete_load([a], context)
    assert list(manager.prepare_store([c], context).store_spec.block_ids) == [0]
    manager.complete_store([c], context)
    assert manager.lookup(c, context) is offload.LookupResult.HIT
    manager.lose((), (), {0})
    assert manager.lookup(c, context) is offload.LookupResult.MISS
    assert list(manager.prepare_store([c], context).store_spec.block_ids) == [0]
    manager.complete_store([c], context)
    found = manager.prepare_store([d], context)
    assert (list(found.store_spec.block_ids), found.evicted_keys) == ([1], [b])
    manager.complete_store([d], context)
    assert manager.told == {
        "vllm:kv_offload_bad_blocks": 1, "vllm:kv_offload_unkept_blocks": 2, "vllm:kv_offload_evictions": 1,
    }  # fmt: skip


def test_blocks_find_their_place_in_chunks():
    near = offload.GPULoadStoreSpec([10, 11, 12, 20], group_sizes=[3, 0, 1], block_indices=[1, 0, 4])
    far = CPULoadStoreSpec([5, 6, 7])
    assert [*places(near, far, 2)] == [(0, 10, 5, 1), (0, 11, 6, 0), (0, 12, 6, 1), (2, 20, 7, 0)]
    assert [*places(near, CPULoadStoreSpec([1, 2, 3, 4]), 1)] == [
        (0, 10, 1, 0), (0, 11, 2, 0), (0, 12, 3, 0), (2, 20, 4, 0),
    ]  # fmt: skip


def test_jenga_refuses_a_connector_with_the_reason():
    from vllm.config import CacheConfig

    from spark_llm.jenga.vllm_choice import choice_of, refusal

    config = SimpleNamespace(
        cache_config=CacheConfig(), speculative_config=None, kv_events_config=None, lora_config=None,
        parallel_config=SimpleNamespace(data_parallel_size=1),
        scheduler_config=SimpleNamespace(disable_hybrid_kv_cache_manager=False),
        kv_transfer_config=object(),
    )  # fmt: skip
    why = refusal(config, 1, "cpu")
    assert why is not None
    assert "KV connector" in why
    layers = SimpleNamespace(specs=[1, 2])
    with pytest.raises(ValueError, match="spark.llm.memory.allocator=jenga.*KV connector"):
        choice_of("jenga", layers, config, 0, why, [])
    config.kv_transfer_config = None
    assert refusal(config, 1, "cpu") is None
