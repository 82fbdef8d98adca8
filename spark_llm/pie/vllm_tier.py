"""The block tier in vLLM: its own offloading connector, over a spec that also runs on a CPU.

    --kv-transfer-config {"kv_connector": "TierConnector", "kv_connector_module_path": …,
                          "kv_connector_extra_config": {"spec_name": "TierSpec", "spec_module_path": …,
                                                        "cpu_bytes_to_use": …, "path": …, "link": {…}}}
    scheduler    OffloadingConnector ─► TierManager          what is kept where; RemainingUsesPolicy evicts
        │ jobs                              ▲ chunks that were lost
    worker       OffloadingConnector ─► TierWorker           CPU: copy threads, checksums
                                        vLLM's own worker    GPU: pinned memory, copy streams

The connector adds one thing to vLLM's: a load may fail. The request is then told as one whose receiving
failed, which vLLM answers by computing it (`kv_load_failure_policy`), from what the tier still has.

Source: vLLM 0.32, distributed/kv_transfer/kv_connector/v1/offloading_connector.py, v1/kv_offload/cpu/spec.py.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from vllm.distributed.kv_transfer.kv_connector.v1.offloading.common import OffloadingWorkerMetadata
from vllm.distributed.kv_transfer.kv_connector.v1.offloading_connector import OffloadingConnector
from vllm.platforms import current_platform
from vllm.v1.kv_offload.base import OffloadingCounterMetadata
from vllm.v1.kv_offload.cpu.spec import CPUOffloadingSpec

from spark_llm.costmodel.link import Link
from spark_llm.pie.chunks import FileStore, MemoryStore
from spark_llm.pie.vllm_tier_manager import COUNTERS, TierManager
from spark_llm.pie.vllm_tier_worker import TierWorker, page_bytes

if TYPE_CHECKING:
    from vllm.distributed.kv_transfer.kv_connector.v1.base import (
        KVConnectorTransferResults,
        KVConnectorWorkerMetadata,
    )
    from vllm.distributed.kv_transfer.kv_connector.v1.offloading.worker import OffloadingConnectorWorker
    from vllm.v1.kv_offload.base import (
        CanonicalKVCaches,
        OffloadingManager,
        OffloadingMetricMetadata,
        OffloadingWorker,
    )
    from vllm.v1.outputs import KVConnectorOutput


class TierSpec(CPUOffloadingSpec):
    """vLLM's tier in host memory, with a worker for CPUs and a manager that can lose chunks."""

    _manager: TierManager | None
    _worker: TierWorker | None

    @classmethod
    def build_metric_definitions(cls, extra_config: dict[str, Any]) -> dict[str, OffloadingMetricMetadata]:
        """As `OffloadingSpec.build_metric_definitions`."""
        ours = {name: OffloadingCounterMetadata(documentation=text) for name, text in COUNTERS.items()}
        return {**super().build_metric_definitions(extra_config), **ours}

    def get_manager(self) -> OffloadingManager:
        """As `OffloadingSpec.get_manager`."""
        if self._manager is None:
            self._manager = TierManager(self.num_chunks, self.eviction_policy, self.cache_policy_module_path)
        return self._manager

    def get_worker(self, kv_caches: CanonicalKVCaches) -> OffloadingWorker:
        """As `OffloadingSpec.get_worker`.

        Raises:
            ValueError: the folder of the tier's file cannot be written.
        """
        if self._uses_shared_region() or current_platform.is_cuda_alike():
            return cast("OffloadingWorker", super().get_worker(kv_caches))
        if self._worker is None:
            self._worker = self._cpu_worker(kv_caches)
        return self._worker

    def _cpu_worker(self, kv_caches: CanonicalKVCaches) -> TierWorker:
        slot_bytes, folder = page_bytes(kv_caches), self.extra_config.get("path")
        store: FileStore | MemoryStore
        if folder is None:
            store = MemoryStore(self.num_chunks * self.blocks_per_chunk, slot_bytes)
        else:
            try:
                store = FileStore(Path(folder), slot_bytes)
            except OSError as error:
                raise ValueError(
                    f"spark.llm.swap.path={folder}: {error.strerror}; name a folder that can be written, "
                    f"such as {tempfile.gettempdir()}, or none"
                ) from error
        link = self.extra_config.get("link")
        return TierWorker(
            kv_caches, store, self.num_chunks, self.blocks_per_chunk, Link(**link) if link else None
        )


@dataclass
class TierWorkerMetadata(OffloadingWorkerMetadata):
    """What a worker tells the scheduler with the jobs that ended: chunks that were lost."""

    bad_chunks: set[int] = field(default_factory=set)
    unkept_chunks: set[int] = field(default_factory=set)
    dropped_chunks: set[int] = field(default_factory=set)

    def aggregate(self, other: KVConnectorWorkerMetadata) -> TierWorkerMetadata:
        """As `KVConnectorWorkerMetadata.aggregate`."""
        merged = super().aggregate(other)
        return TierWorkerMetadata(
            merged.completed_jobs,
            merged.transfer_stats,
            self.bad_chunks | getattr(other, "bad_chunks", set()),
            self.unkept_chunks | getattr(other, "unkept_chunks", set()),
            self.dropped_chunks | getattr(other, "dropped_chunks", set()),
        )


class TierConnector(OffloadingConnector):
    """vLLM's offloading connector whose loads may fail."""

    _bad_chunks: frozenset[int] = frozenset()

    @property
    def manager(self) -> TierManager:
        """Of the scheduler's side."""
        return cast("TierManager", self.scheduler.manager)

    @property
    def worker(self) -> OffloadingWorker:
        """Of the worker's side; vLLM's own on a GPU."""
        return cast("OffloadingWorker", self._side.worker)

    @property
    def _side(self) -> OffloadingConnectorWorker:
        return cast("OffloadingConnectorWorker", self.connector_worker)

    def get_transfer_results(self, finished_req_ids: set[str]) -> KVConnectorTransferResults:
        """As `KVConnectorBase_V1.get_transfer_results`, with the requests whose loads failed."""
        request_of = dict(self._side._load_jobs)  # noqa: SLF001  gone from there once they are told
        results = super().get_transfer_results(finished_req_ids)
        if isinstance(self.worker, TierWorker):
            failed = self.worker.take_failed_loads()
            results.failed_recving |= {request_of[job] for job in failed}
            self._bad_chunks = self._bad_chunks.union(*failed.values())
        return results

    def build_connector_worker_meta(self) -> OffloadingWorkerMetadata | None:
        """As `KVConnectorBase_V1.build_connector_worker_meta`; says what was lost, too."""
        meta = super().build_connector_worker_meta()
        if meta is None or not isinstance(self.worker, TierWorker):
            return meta
        bad, self._bad_chunks = self._bad_chunks, frozenset()
        return TierWorkerMetadata(
            meta.completed_jobs, meta.transfer_stats, set(bad), *self.worker.take_unkept()
        )

    def update_connector_output(self, connector_output: KVConnectorOutput) -> None:
        """As `KVConnectorBase_V1.update_connector_output`; jobs end before their chunks go."""
        super().update_connector_output(connector_output)
        meta = connector_output.kv_connector_worker_meta
        if isinstance(meta, TierWorkerMetadata):
            self.manager.lose(meta.bad_chunks, meta.unkept_chunks, meta.dropped_chunks)
