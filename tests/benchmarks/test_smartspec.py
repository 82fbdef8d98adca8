"""The gates of benchmarks/smartspec.py come from its rows, and each can be missed."""

import json

import pytest
import smartspec


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    file = tmp_path_factory.mktemp("smartspec") / "results.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["smartspec.py", "--quick", "--json", str(file)])
        smartspec.main()
    return json.loads(file.read_text())


def test_a_quick_run_has_rows_of_each_kind_and_all_gates(quick):
    kinds = {row["kind"] for row in quick["rows"]}
    assert kinds >= {"decision", "change", "stationary", "drifting", "adversarial", "dear prompts"}
    assert set(quick["gates"]) == set(smartspec.gates(quick["rows"]))
    assert quick["gates"]["of_none_in_every_cell"]["ok"]


@pytest.mark.parametrize(
    ("kind", "change", "gate"),
    [
        ("adversarial", {"value": 0.96}, "of_none_in_every_cell"),
        ("stationary", {"value_over_best": 0.96}, "of_best_constant_in_every_stationary_cell"),
        ("dear prompts", {"value_over_best": 0.96}, "of_best_constant_with_dear_prompts"),
        ("drifting", {"value_over_best": 0.5}, "mean_of_best_constant_in_drifting_cells"),
        (
            "drifting, prompts",
            {"value_over_best": 0.5},
            "mean_of_best_constant_in_drifting_cells_with_prompts",
        ),
        ("change", {"steps": 41}, "steps_to_adapt"),
        ("decision", {"ms": 0.11}, "decision_ms_at_512"),
        ("published, n-gram", {"value": 1.1}, "over_none_at_acceptance_0.7"),
    ],
)
def test_each_gate_can_be_missed(quick, kind, change, gate):
    at = next(at for at, row in enumerate(quick["rows"]) if row["kind"] == kind)
    rows = [{**row, **(change if at == place else {})} for place, row in enumerate(quick["rows"])]
    assert not smartspec.gates(rows)[gate]["ok"]


def test_policies_meet_the_same_luck():
    cell = smartspec.Cell("stationary", 1, "0.5", 40, smartspec.constant(1.0))
    row = smartspec.measure(cell, smartspec.FEWER, 400, seed=3)
    assert row["k=7"] > 4
    assert row["value"] == pytest.approx(row["k=7"], rel=0.02)
