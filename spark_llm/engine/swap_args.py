"""From spark.llm.swap.* to vLLM's KV connector and our part of its additional configuration.

blocks   vLLM's own offloading connector over our tier (`spark_llm.pie.vllm_tier`)
layers   our worker and connector (`spark_llm.pie.vllm_layers`)
auto     blocks: a returning prefix is cheaper to copy back than to compute on any link
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from spark_llm.engine.memory_args import ALLOCATOR
from spark_llm.errors import invalid_conf

if TYPE_CHECKING:
    from spark_llm.conf import Conf

ENABLED = "spark.llm.swap.enabled"
MODE = "spark.llm.swap.mode"
HOST_MEMORY = "spark.llm.swap.hostMemory"
PATH = "spark.llm.swap.path"
SWAP_FILE = "swap.json"
VITALS_FILE = "vitals.json"
TIER_MODULE = "spark_llm.pie.vllm_tier"
LAYERS_CONNECTOR = "LayerSwapConnector"
LAYERS_MODULE = "spark_llm.pie.vllm_layers_connector"
# Blocks over those that near memory holds, at most.
EXPANSION = 2.0
# What of vLLM's arguments swap decides itself.
TAKEN = dict.fromkeys(
    (
        "worker-cls",
        "kv-transfer-config",
        "kv-offloading-size",
        "kv-offloading-backend",
        "scheduler-cls",
        "additional-config",
    ),
    f"{ENABLED}=true decides it",
)


def swap_of(conf: Conf, socket: str, device: str) -> dict[str, Any]:
    """Arguments of vLLM with our part, `swap`, in the additional configuration; nothing where it is off.

    Args:
        conf: the checked settings.
        socket: path of the engine's socket; it says what it chose in a file beside it.
        device: where vLLM computes.

    Raises:
        SparkLLMError: LLM_INVALID_CONF when the device cannot have what is asked for.
    """
    if not conf.flag(ENABLED):
        return {}
    mode = conf.text(MODE)
    if mode == "layers":
        return _layers(conf, socket, device)
    return _blocks(conf, socket, device)


def _blocks(conf: Conf, socket: str, device: str) -> dict[str, Any]:
    host_bytes, path = conf.integer(HOST_MEMORY), conf.get(PATH)
    if device != "cpu" and path is not None:
        raise invalid_conf(PATH, path, "no folder: a GPU's KV is copied to pinned memory of the host")
    extra: dict[str, Any] = {
        "spec_name": "TierSpec",
        "spec_module_path": TIER_MODULE,
        "cpu_bytes_to_use": host_bytes,
        "eviction_policy": "RemainingUses",
        "cache_policy_module_path": "spark_llm.pie.vllm_tier_uses",
    }
    if path is not None:
        extra["path"] = path
    return {
        "kv-transfer-config": {
            "kv_connector": "TierConnector",
            "kv_connector_module_path": TIER_MODULE,
            "kv_role": "kv_both",
            # A block that cannot be read is computed again; vLLM's other choice fails the request.
            "kv_load_failure_policy": "recompute",
            "kv_connector_extra_config": extra,
        },
        "additional-config": {
            "spark_llm": {
                "swap": {
                    "mode": "blocks",
                    "host_bytes": host_bytes,
                    "file": str(Path(socket).with_name(SWAP_FILE)),
                }
            }
        },
    }


def _layers(conf: Conf, socket: str, device: str) -> dict[str, Any]:
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
        "file": str(Path(socket).with_name(SWAP_FILE)),
        "vitals": str(Path(socket).with_name(VITALS_FILE)),
    }
    return layers_args(ours, device)


def layers_args(ours: dict[str, Any], device: str) -> dict[str, Any]:
    """Arguments of vLLM for layer swap.

    Args:
        ours: our part of the additional configuration; see `spark_llm.pie.vllm_layers`.
        device: ``cpu``, or a GPU's.
    """
    worker = "vllm_layers_cpu" if device == "cpu" else "vllm_layers_gpu"
    return {
        "worker-cls": f"spark_llm.pie.{worker}.LayerSwapWorker",
        "kv-transfer-config": {
            "kv_connector": LAYERS_CONNECTOR,
            "kv_connector_module_path": LAYERS_MODULE,
            "kv_role": "kv_both",
        },
        "additional-config": {"spark_llm": {"swap": ours}},
    }
