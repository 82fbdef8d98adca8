import json

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest

from spark_llm.engine.metrics_poll import parse
from spark_llm.engine.vitals import GAUGES, VitalsCollector, VitalsWriter, read_vitals
from spark_llm.smartspec.policy import StepResult
from spark_llm.smartspec.vitals import SpeculationVitals


def step(drafted, accepted, step_s=0.5):
    rows = np.arange(len(drafted))
    none = np.zeros(len(drafted), np.int64)
    return StepResult(
        slots=rows, drafted=np.array(drafted), accepted=np.array(accepted), forced=none, kv_tokens=10,
        tokens=4, prefill_tokens=0, sequences=len(rows), step_s=step_s, draft_s=0.0,
    )  # fmt: skip


def test_figures_of_a_second_reach_the_poll(tmp_path):
    now = [0.0]
    file = tmp_path / "vitals.json"
    vitals = SpeculationVitals(VitalsWriter(file, now_s=lambda: now[0]))
    vitals.add(step([4, 0], [3, 0]), 0.002)
    assert read_vitals(file) == {}
    now[0] = 1.5
    vitals.add(step([4, 4], [4, 1]), 0.004)
    assert read_vitals(file) == {
        "speculation_draft_length": 3.0,
        "speculation_acceptance_rate": 8 / 12,
        "speculation_goodput": 12.0,
        "speculation_decision_seconds": 0.003,
    }
    registry = CollectorRegistry()
    registry.register(VitalsCollector(file))
    assert parse(generate_latest(registry).decode()) == read_vitals(file)
    VitalsWriter(file).write({name: 1.0 for name in GAUGES if name.startswith("swap_")})
    # Another writer's figures stay.
    assert set(read_vitals(file)) == set(GAUGES)
    assert read_vitals(file)["speculation_draft_length"] == 3.0


def test_a_second_later_it_starts_anew(tmp_path):
    now = [0.0]
    vitals = SpeculationVitals(VitalsWriter(tmp_path / "v.json", now_s=lambda: now[0]))
    for at, drafted in ((2.0, 4), (2.5, 1), (4.0, 3)):
        now[0] = at
        vitals.add(step([drafted], [0]), 0.0)
    assert read_vitals(tmp_path / "v.json")["speculation_draft_length"] == 2.0


def test_a_broken_or_absent_file_has_no_figures(tmp_path):
    assert read_vitals(tmp_path / "none") == {}
    (tmp_path / "half").write_text('{"speculation_go')
    assert read_vitals(tmp_path / "half") == {}
    (tmp_path / "other").write_text(json.dumps({"speculation_goodput": 2, "more": 1}))
    assert read_vitals(tmp_path / "other") == {"speculation_goodput": 2.0}


def test_a_folder_that_is_gone_costs_figures_only(tmp_path):
    VitalsWriter(tmp_path / "gone" / "v.json").write({"speculation_goodput": 1.0})


def test_nobody_reads():
    SpeculationVitals(None).add(step([1], [1]), 0.0)
