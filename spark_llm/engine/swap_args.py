"""From spark.llm.swap.* to vLLM's KV connector and our part of its additional configuration.

blocks   vLLM's own offloading connector over our tier (`spark_llm.pie.vllm_tier`)
layers   our worker and connector (`swap_layers_args`)
auto     by `spark_llm.pie.decide` from the step time that was measured; blocks where none was
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from spark_llm.costmodel.link import PCIE4_X16, Link
from spark_llm.costmodel.store import KEY as STEP_TIME_KEY
from spark_llm.costmodel.store import read_step_time
from spark_llm.engine.swap_layers_args import HOST_MEMORY, MODE, PATH, SWAP_FILE, layers_of
from spark_llm.errors import SparkLLMError, invalid_conf
from spark_llm.jenga.hf_config import from_config
from spark_llm.pie.decide import Decision, Mode, decide
from spark_llm.pie.facts import EngineFacts

if TYPE_CHECKING:
    from spark_llm.conf import Conf

ENABLED = "spark.llm.swap.enabled"
TIER_MODULE = "spark_llm.pie.vllm_tier"
# A GPU's slowest usual link, and a copy with its checksum on one core, each way (measured: 1.2 to 3 GB/s).
LINKS: Final = {"gpu": PCIE4_X16, "cpu": Link(0.0, 1e9, 1e9)}
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


def swap_of(conf: Conf, model: str, socket: str, device: str) -> dict[str, Any]:
    """Arguments of vLLM with our part, `swap`, in the additional configuration; nothing where it is off.

    Args:
        conf: the checked settings.
        model: hub name, or absolute path, of the model.
        socket: path of the engine's socket; it says what it chose in a file beside it.
        device: where vLLM computes.

    Raises:
        SparkLLMError: LLM_INVALID_CONF when the device cannot have what is asked for.
    """
    if not conf.flag(ENABLED):
        return {}
    mode, path = conf.text(MODE), conf.get(PATH)
    if mode == "layers":
        return layers_of(conf, socket, device)
    if device != "cpu" and path is not None:
        raise invalid_conf(PATH, path, "no folder: a GPU's KV is copied to pinned memory of the host")
    decision = decision_of(conf, model, device)
    ours = {
        "mode": decision.mode.value,
        "reason": decision.reason,
        "host_bytes": conf.integer(HOST_MEMORY),
        "file": str(Path(socket).with_name(SWAP_FILE)),
    }
    additional = {"additional-config": {"spark_llm": {"swap": ours}}}
    if decision.mode is Mode.OFF:
        return additional
    return {"kv-transfer-config": _blocks(conf), **additional}


def decision_of(conf: Conf, model: str, device: str) -> Decision:
    """What an engine does with host memory, as its jobs are not known when it starts.

    Args:
        conf: the checked settings.
        model: hub name, or absolute path, of the model.
        device: where vLLM computes.
    """
    mode = None if conf.text(MODE) == "auto" else Mode(conf.text(MODE))
    facts = _facts(conf, model, device)
    if facts is None:
        asked = "as the settings ask" if mode else "prefixes that return are brought back"
        return Decision(mode or Mode.BLOCKS, f"{asked}; no step time was measured ({STEP_TIME_KEY})")
    return decide(facts, None, mode)


def _facts(conf: Conf, model: str, device: str) -> EngineFacts | None:
    """None where it was not measured what a prompt's token costs, or the model's layers are not known."""
    if (profile := conf.get(STEP_TIME_KEY)) is None:
        return None
    time = read_step_time(Path(profile).expanduser())
    try:
        specs = from_config(json.loads((Path(model) / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError, SparkLLMError):
        return None
    token_s = time.token_s if time.prefill_token_s is None else time.prefill_token_s
    return EngineFacts(
        layers=sum(spec.layers for spec in specs),
        weights_bytes=0.0,  # matters to swapped layers only, as do the three below
        kv_token_bytes=sum(spec.layers * spec.token_bytes for spec in specs),
        near_bytes=0.0,
        host_bytes=conf.integer(HOST_MEMORY),
        device_bytes_per_s=0.0,
        link=LINKS[device],
        prefill_token_s=token_s,
    )


def _blocks(conf: Conf) -> dict[str, Any]:
    extra: dict[str, Any] = {
        "spec_name": "TierSpec",
        "spec_module_path": TIER_MODULE,
        "cpu_bytes_to_use": conf.integer(HOST_MEMORY),
        "eviction_policy": "RemainingUsesPolicy",
        "cache_policy_module_path": "spark_llm.pie.vllm_tier_uses",
    }
    if (path := conf.get(PATH)) is not None:
        extra["path"] = path
    return {
        "kv_connector": "TierConnector",
        "kv_connector_module_path": TIER_MODULE,
        "kv_role": "kv_both",
        # A block that cannot be read is computed again; vLLM's other choice fails the request.
        "kv_load_failure_policy": "recompute",
        "kv_connector_extra_config": extra,
    }
