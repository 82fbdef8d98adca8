"""The worker of an engine on a GPU that swaps layers; see `vllm_layers`."""

from __future__ import annotations

from vllm.v1.worker.gpu_worker import Worker

from spark_llm.pie.vllm_layers import LayerSwapMixin


class LayerSwapWorker(LayerSwapMixin, Worker):
    """vLLM's, with more blocks."""
