"""Making vLLM find our plug-in where the package is installed, and where it only lies on PYTHONPATH."""

from __future__ import annotations

import os
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

import spark_llm
from spark_llm.engine.vllm_args import PLUGIN_NAME

if TYPE_CHECKING:
    from collections.abc import Mapping

GROUP = "vllm.endpoint_plugins"
_TARGET = "spark_llm.engine.vllm_plugin:BatchEndpoint"


def python_path(folder: Path, environ: Mapping[str, str]) -> str:
    """PYTHONPATH for the engine: our package's place, and an entry point in `folder` when none is installed.

    vLLM keeps plug-ins by name, so one that is found twice is still loaded once.
    """
    # spark_llm/__init__.py in a folder or in a zip: two steps up is what must be on the path.
    parts = [str(Path(str(spark_llm.__file__)).parent.parent)]
    if not entry_points(group=GROUP, name=PLUGIN_NAME):
        parts.append(str(_write_entry_point(folder)))
    parts += environ.get("PYTHONPATH", "").split(os.pathsep)
    return os.pathsep.join(dict.fromkeys(filter(None, parts)))


def platform_plugins() -> tuple[str, ...]:
    """Names of the installed vLLM platform plug-ins (for accelerators outside vLLM's own tree)."""
    return tuple(sorted({point.name for point in entry_points(group="vllm.platform_plugins")}))


def _write_entry_point(folder: Path) -> Path:
    root = folder / "plugins"
    info = root / "spark_llm_plugins-0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: spark_llm_plugins\nVersion: 0\n", encoding="utf-8"
    )
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{PLUGIN_NAME} = {_TARGET}\n", encoding="utf-8")
    return root
