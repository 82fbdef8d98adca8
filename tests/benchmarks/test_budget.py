"""The gates of benchmarks/budget.py are about our rows alone, and about the worst of them."""

import budget


def row(by="spark.llm.budget", spent=1000, kept=1.0, back=10):
    return {"by": by, **budget.outcome(1000, spent), "kept": kept, "rows": 10, "rows_back": back}


def passed(*rows):
    return {name: gate["ok"] for name, gate in budget.gates(list(rows)).items()}


def test_overshoot_and_undershoot_are_parts_of_the_budget():
    over, under = budget.outcome(1000, 1250), budget.outcome(1000, 900)
    assert (over["overshoot"], over["undershoot"]) == (0.25, 0.0)
    assert (under["overshoot"], round(under["undershoot"], 9)) == (0.0, 0.1)


def test_each_gate_can_be_missed():
    assert all(passed(row(), row(by="count afterwards", spent=9000)).values())
    assert not passed(row(), row(spent=1021))["overshoot_worst"]
    assert passed(row(), row(spent=1020))["overshoot_worst"]
    assert not passed(row(), row(kept=0.99))["finished_answers_kept"]
    assert not passed(row(), row(back=9))["all_rows_come_back"]
