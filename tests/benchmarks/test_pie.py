"""The gates of benchmarks/pie.py come from its rows, and each can be missed."""

import copy

import pie
import pytest


@pytest.fixture(scope="module")
def rows():
    return list(pie.policy(quick=True))


def test_a_quick_run_has_rows_of_each_kind_and_meets_its_gates(rows):
    kinds = {row["kind"] for row in rows}
    assert kinds == {"ceiling", "edge", "gh200", "controller", "not slower", "decision"}
    assert all(gate["ok"] for gate in pie.gates(rows).values())


@pytest.mark.parametrize(
    ("kind", "change", "gate"),
    [
        ("ceiling", {"closed_form": 2.06}, "closed_form_off_expected"),
        ("ceiling", {"rate": 0.97}, "not_slower_ceiling"),
        ("edge", {"waits_below": 1}, "waits_at_most_0.95_of_ceiling"),
        ("edge", {"waits_beyond": 0}, "least_waits_beyond_1.1_of_ceiling"),
        ("gh200", {"expansion": 1.8}, "gh200_expansion"),
        ("gh200", {"rate": 1.7}, "gh200_rate"),
        ("gh200", {"device_memory_without_over_with": 1.6}, "gh200_device_memory"),
        ("gh200", {"slow_down": 0.03}, "gh200_slow_down"),
        ("controller", {"windows_after_drop": 41}, "controller_windows"),
        ("not slower", {"controller": 0.97}, "not_slower_controller"),
        ("decision", {"simulated_gain": 0.97}, "not_slower_decision"),
        ("not slower", {"cap": 0.97}, "not_slower_cap"),
    ],
)
def test_a_gate_can_be_missed(rows, kind, change, gate):
    worse = copy.deepcopy(rows)
    next(row for row in worse if row["kind"] == kind).update(change)
    assert not pie.gates(worse)[gate]["ok"]


def test_every_layout_that_is_measured_can_be(rows):
    assert all(row["layouts_below"] for row in rows if row["kind"] == "edge")
    assert len(pie.TABLE) == 10
