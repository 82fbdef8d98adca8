"""The names on vLLM's metrics page that the supervisor reads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from spark_llm.engine.metrics_poll import COUNTERS, GAUGES

vllm = pytest.importorskip("vllm")
pytestmark = pytest.mark.vllm

from spark_llm.pie.vllm_tier_manager import COUNTERS as OURS  # noqa: E402


def test_every_figure_is_one_of_vllms():
    package = Path(vllm.__file__).parent / "v1"
    sources = [package / "metrics/loggers.py", package / "spec_decode/metrics.py"]
    connector = package.parent / "distributed/kv_transfer/kv_connector/v1/offloading/metrics.py"
    text = "".join(source.read_text() for source in [*sources, connector])
    names = set(re.findall(r'"vllm:(\w+)"', text))
    ours = {name.removeprefix("vllm:") for name in OURS}
    assert {*GAUGES, *COUNTERS} <= names | ours
    assert not ours & names
