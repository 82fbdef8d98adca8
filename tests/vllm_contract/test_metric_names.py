"""The names on vLLM's metrics page that the supervisor reads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from spark_llm.engine.metrics_poll import COUNTERS, GAUGES

vllm = pytest.importorskip("vllm")
pytestmark = pytest.mark.vllm


def test_every_figure_is_one_of_vllms():
    package = Path(vllm.__file__).parent / "v1"
    sources = [package / "metrics/loggers.py", package / "spec_decode/metrics.py"]
    names = set(re.findall(r'"vllm:(\w+)"', "".join(source.read_text() for source in sources)))
    assert {*GAUGES, *COUNTERS} <= names
