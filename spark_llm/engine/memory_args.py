"""From spark.llm.memory.* to our part of vLLM's additional configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spark_llm.errors import SparkLLMError, invalid_conf
from spark_llm.jenga.hf_config import from_config

if TYPE_CHECKING:
    from spark_llm.conf import Conf

ALLOCATOR = "spark.llm.memory.allocator"
JUNCTIONS = "spark.llm.memory.junctions.enabled"
USES = "spark.llm.memory.plannedUses.enabled"
DIR = "spark.llm.memory.dir"
MEMORY_FILE = "memory.json"


def memory_of(conf: Conf, model: str, socket: str, device: str) -> dict[str, Any] | None:
    """What the engine is told, None where it need not be asked: vLLM then starts as if we were not there.

    Args:
        conf: the checked settings.
        model: hub name, or absolute path, of the model.
        socket: path of the engine's socket; it says what it chose in a file beside it.
        device: where vLLM computes.

    Raises:
        SparkLLMError: LLM_INVALID_CONF when jenga is asked for and the device cannot have it.
    """
    allocator = conf.text(ALLOCATOR)
    hints = {name: True for name, key in (("junctions", JUNCTIONS), ("uses", USES)) if conf.flag(key)}
    if allocator == "vllm" and not hints:
        return None
    if device != "cpu":
        if allocator == "jenga":
            raise invalid_conf(
                ALLOCATOR, allocator, "auto or vllm: vLLM's GPU runner counts the blocks of all layers alike"
            )
        return None
    if allocator == "auto" and not hints.get("uses") and _alike(Path(model)):
        return None
    # Lengths of earlier rows: an engine that is replaced leaves them to the next one in any case.
    folder = {} if allocator == "vllm" else {"dir": conf.get(DIR) or str(Path(socket).parent)}
    return {"allocator": allocator, "file": str(Path(socket).with_name(MEMORY_FILE))} | folder | hints


def _alike(model: Path) -> bool:
    """Whether the model is known to keep the same in all layers, where there is nothing to choose."""
    try:
        specs = from_config(json.loads((model / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError, SparkLLMError):
        return False
    return len(specs) == 1
