"""From spark.llm.swap.mode=layers to vLLM's worker and KV connector (`spark_llm.pie.vllm_layers`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from spark_llm.engine.memory_args import ALLOCATOR
from spark_llm.errors import invalid_conf

if TYPE_CHECKING:
    from spark_llm.conf import Conf

MODE = "spark.llm.swap.mode"
HOST_MEMORY = "spark.llm.swap.hostMemory"
PATH = "spark.llm.swap.path"
SWAP_FILE = "swap.json"
VITALS_FILE = "vitals.json"
CONNECTOR: Final = "LayerSwapConnector"
# Blocks over those that near memory holds, at most.
EXPANSION: Final = 2.0


def layers_of(conf: Conf, socket: str, device: str) -> dict[str, Any]:
    """Arguments of vLLM for an engine whose layers swap.

    Args:
        conf: the checked settings.
        socket: path of the engine's socket; what it says lies beside it.
        device: where vLLM computes.

    Raises:
        SparkLLMError: LLM_INVALID_CONF when other settings do not go with it.
    """
    if (path := conf.get(PATH)) is not None:
        raise invalid_conf(PATH, path, f"no folder with {MODE}=layers: rows that run need memory")
    if (allocator := conf.text(ALLOCATOR)) == "jenga":
        raise invalid_conf(ALLOCATOR, allocator, f"auto or vllm with {MODE}=layers, which lays out the pages")
    if conf.flag("spark.llm.speculative.enabled") and (model := conf.get("spark.llm.speculative.model")):
        raise invalid_conf(
            "spark.llm.speculative.model", model, f"no draft model with {MODE}=layers: its layers come last"
        )
    ours = {
        "mode": "layers",
        "expansion": EXPANSION,
        "host_bytes": conf.integer(HOST_MEMORY),
        "reason": "as the settings ask",
        "file": str(Path(socket).with_name(SWAP_FILE)),
        "vitals": str(Path(socket).with_name(VITALS_FILE)),
    }
    return layers_args(ours, device)


def layers_args(ours: dict[str, Any], device: str) -> dict[str, Any]:
    """The same from our part of vLLM's additional configuration.

    Args:
        ours: see `spark_llm.pie.vllm_layers`.
        device: ``cpu``, or a GPU's.
    """
    worker = "vllm_layers_cpu" if device == "cpu" else "vllm_layers_gpu"
    return {
        "worker-cls": f"spark_llm.pie.{worker}.LayerSwapWorker",
        "kv-transfer-config": {
            "kv_connector": CONNECTOR,
            "kv_connector_module_path": "spark_llm.pie.vllm_layers_connector",
            "kv_role": "kv_both",
        },
        "additional-config": {"spark_llm": {"swap": ours}},
    }
