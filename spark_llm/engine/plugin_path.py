"""Making vLLM find our plug-ins where the package is installed, and where it only lies on PYTHONPATH."""

from __future__ import annotations

import os
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

import spark_llm
from spark_llm.engine.vllm_args import MEMORY_PLUGIN_NAME, PLUGIN_NAME

if TYPE_CHECKING:
    from collections.abc import Mapping

# Group, name and target of each, as in pyproject.toml.
ENTRY_POINTS = (
    ("vllm.endpoint_plugins", PLUGIN_NAME, "spark_llm.engine.vllm_plugin:BatchEndpoint"),
    ("vllm.general_plugins", MEMORY_PLUGIN_NAME, "spark_llm.jenga.vllm_plugin:register"),
)


def python_path(folder: Path, environ: Mapping[str, str]) -> str:
    """PYTHONPATH for the engine: our package, and entry points in `folder` where they are not installed.

    vLLM keeps plug-ins by name, so one that is found twice is still loaded once.
    """
    # spark_llm/__init__.py in a folder or in a zip: two steps up is what must be on the path.
    parts = [str(Path(str(spark_llm.__file__)).parent.parent)]
    if not all(entry_points(group=group, name=name) for group, name, _ in ENTRY_POINTS):
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
    points = "".join(f"[{group}]\n{name} = {target}\n" for group, name, target in ENTRY_POINTS)
    (info / "entry_points.txt").write_text(points, encoding="utf-8")
    return root
