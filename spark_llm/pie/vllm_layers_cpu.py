"""The worker of an engine on the CPU that swaps layers; see `vllm_layers`."""

from __future__ import annotations

from vllm.v1.worker.cpu_worker import CPUWorker

from spark_llm.pie.vllm_layers import LayerSwapMixin


class LayerSwapWorker(LayerSwapMixin, CPUWorker):
    """vLLM's, with more blocks."""
