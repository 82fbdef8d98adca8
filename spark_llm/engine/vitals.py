"""Figures that only the engine's core process knows, on their way to the page its server gives Prometheus.

    EngineCore process: VitalsWriter ──► vitals.json beside the socket ──► API server: GET /metrics

vLLM's core process has no page of its own, and what it tells the server with each step has no place for ours.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from prometheus_client import Metric

WRITE_EVERY_S: Final = 1.0
PREFIX: Final = "spark_llm:"
GAUGES: Final = {
    "speculation_draft_length": "Draft tokens a row and step, mean of the last second.",
    "speculation_acceptance_rate": "Share of verified draft tokens that were right, last second.",
    "speculation_goodput": "Tokens that decoding rows gained a second of engine time.",
    "speculation_decision_seconds": "Seconds a step that choosing draft lengths took, last second.",
    "swap_blocks": "Blocks of keys and values that near memory and the host hold together.",
    "swap_cap_blocks": "Blocks that rows may have now; below swap_blocks where copies are waited for.",
    "swap_stall_share": "Share of the last steps' time that layers waited for copies.",
    "swap_loaded_bytes": "Bytes copied from host to near memory since the start.",
    "swap_stored_bytes": "Bytes copied from near to host memory since the start.",
}

_LATEST: dict[Path, dict[str, float]] = {}


class VitalsWriter:
    """Writes the latest figures, at most once a second; a disk that is full costs figures and nothing else.

    Args:
        path: the file.
        every_s: least time between two writes.
        now_s: a clock.
    """

    def __init__(
        self, path: Path, every_s: float = WRITE_EVERY_S, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._path, self._every_s, self._now_s = path, every_s, now_s
        self._next_s = now_s() + every_s

    @property
    def due(self) -> bool:
        """Whether `write` would write."""
        return self._now_s() >= self._next_s

    def write(self, figures: Mapping[str, float]) -> None:
        """Replaces the file, so that a reader sees all of it or the one before.

        Figures that another writer of this process has put there stay.
        """
        self._next_s = self._now_s() + self._every_s
        figures = _LATEST.setdefault(self._path, {}) | dict(figures)
        _LATEST[self._path] = figures
        part = self._path.with_suffix(".part")
        try:
            part.write_text(json.dumps(figures))
            part.replace(self._path)
        except OSError:
            pass


def leave_choice(file: str | None, told: Mapping[str, object]) -> None:
    """Writes what the engine chose when it started, for its supervisor; None, or a full disk: nowhere."""
    if file is not None:
        with suppress(OSError):
            Path(file).write_text(json.dumps(told))


def read_vitals(path: Path) -> dict[str, float]:
    """The figures that were written last; empty where there are none."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return {name: float(found[name]) for name in GAUGES if name in found}


class VitalsCollector:
    """Gives the figures to `prometheus_client.REGISTRY`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def collect(self) -> Iterable[Metric]:
        """One gauge per figure."""
        from prometheus_client.core import GaugeMetricFamily

        for name, value in read_vitals(self._path).items():
            gauge = GaugeMetricFamily(PREFIX + name, GAUGES[name])
            gauge.add_metric([], value)
            yield gauge
