"""What every benchmark shares: the JSON file with machine, commit, rows and gates."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def vllm_alone(plugins: str, log_level: str) -> None:
    """Keeps vLLM in this process and on one core; to be called before torch is imported.

    Args:
        plugins: names of the plug-ins that may load, separated by commas.
        log_level: of vLLM, where the environment has none.
    """
    os.environ.update(
        VLLM_ENABLE_V1_MULTIPROCESSING="0",
        VLLM_NO_USAGE_STATS="1",
        HF_HUB_OFFLINE="1",
        VLLM_CPU_CI_ENV="1",
        OMP_NUM_THREADS="1",
        NUMBA_NUM_THREADS="1",
        VLLM_PLUGINS=plugins,
    )
    os.environ.setdefault("VLLM_LOGGING_LEVEL", log_level)
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")


def machine() -> dict[str, Any]:
    """Processor, cores and memory of this machine, in words that mean something elsewhere."""
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    memory_kb = int(Path("/proc/meminfo").read_text().split()[1])
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory_kb / 2**20, 1),
        "gpu": None,
    }


def commit() -> str:
    """The checkout's commit, with a mark when it has changes on top."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False
        ).stdout.strip()

    return (git("rev-parse", "--short=12", "HEAD") or "unknown") + (
        "+changes" if git("status", "--porcelain") else ""
    )


def gate(value: float, target: float, *, at_least: bool = True) -> dict[str, Any]:
    """A gate from a measured value; never written by hand."""
    return {"value": value, "target": target, "ok": value >= target if at_least else value <= target}


def report(rows: list[dict[str, Any]], gates: dict[str, dict[str, Any]], file: Path | None) -> None:
    """Prints the rows as a table with the gates below, and writes them where asked."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [columns, *([_cell(row.get(c)) for c in columns] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for name, g in gates.items():
        print(f"{'ok  ' if g['ok'] else 'MISS'}  {name}: {g['value']:.4g} (target {g['target']:g})")
    if file is not None:
        write(rows, gates, file)


def write(rows: list[dict[str, Any]], gates: dict[str, dict[str, Any]], file: Path) -> None:
    """Writes rows and gates; long benchmarks do so after each step, so that a break loses one step only."""
    content = {"machine": machine(), "commit": commit(), "rows": rows, "gates": gates}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=1) + "\n")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return (
        f"{value:,.3g}"
        if isinstance(value, float) and abs(value) < 100
        else f"{value:,.0f}"
        if isinstance(value, (int, float))
        else str(value)
    )
