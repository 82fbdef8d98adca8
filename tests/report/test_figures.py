"""The figures behind the pictures: steps of the funnel, series over time."""

from xml.etree.ElementTree import tostring

import pytest
from report_helpers import call, engine, point, run

from spark_llm.report.funnel import steps
from spark_llm.report.read import parse_run
from spark_llm.report.series import series_of
from spark_llm.report.strips import strips, strips_table


def funnel(**more):
    (one,) = parse_run(run(call(**more))).calls
    return {step.name: step for step in steps(one)}


def test_steps_lead_from_the_rows_read_to_those_that_failed():
    found = funnel(
        rows=900, rows_read=1000, requests=300, prompt=30_000, skippedRows=100, cachedRows=200, failedRows=3
    )
    assert {name: step.rows for name, step in found.items()} == {
        "rows read": 1000,
        "at the call": 900,
        "to be asked": 800,
        "from the cache": 200,
        "different questions": 300,
        "asked of the engine": 300,
        "failed rows": 3,
    }
    assert found["rows read"].prompt_tokens == 100_000
    assert found["rows read"].estimated
    assert found["asked of the engine"].prompt_tokens == 30_000
    assert not found["asked of the engine"].estimated
    assert found["asked of the engine"].seconds == pytest.approx(12.345)


def test_steps_that_did_nothing_are_left_out():
    assert list(funnel(rows=400, rows_read=400, requests=400)) == ["at the call", "asked of the engine"]


def test_retries_and_a_spent_budget_are_shown_where_something_counts_them():
    found = funnel(overBudgetRows=5, retries=7)
    assert found["over the budget"].rows == 5
    assert found["asked of the engine"].note == "7 of them sent again"
    assert found["asked of the engine"].rows == 407


def test_rates_and_gauges_of_two_engines():
    readings = [
        engine(name, at, 100 * at, 10 * at, 50 * at, 4, 1, 0.25 * int(name))
        for name in "12"
        for at in range(21)
    ]
    series = series_of(parse_run(run(seconds=20, engines=readings)))
    assert series.of_engines
    assert series.tokens_per_s == pytest.approx([220] * 20)
    assert series.generated_per_s == pytest.approx([20] * 20)
    assert series.hit_share == pytest.approx([0.5] * 20)
    assert (set(series.running), set(series.waiting), set(series.kv_share)) == ({8}, {2}, {0.375})


def test_speculation_is_shown_where_an_engine_speculates():
    readings = [engine(name, at, 100 * at, 10 * at, 50 * at) for name in "12" for at in range(21)]
    assert series_of(parse_run(run(seconds=20, engines=readings))).speculation is None
    for reading in readings:
        reading["metrics"] |= {
            "speculation_draft_length": float(reading["executor"]),
            "speculation_acceptance_rate": 0.5,
            "speculation_goodput": 100.0,
            "speculation_decision_seconds": 0.002,
        }
    series = series_of(parse_run(run(seconds=20, engines=readings)))
    found = series.speculation
    assert (set(found.draft_length), set(found.acceptance)) == ({1.5}, {0.5})
    assert (set(found.goodput), set(found.decision_ms)) == ({200.0}, {2.0})
    page = tostring(strips(series), "unicode") + tostring(strips_table(series), "unicode")
    for words in ("draft length", "drafts accepted", "goodput", "decision"):
        assert page.count(words) >= 2, words
    assert "mean 1.50, most 1.50" in page


def test_kv_from_the_host_is_shown_where_an_engine_swaps():
    readings = [engine(name, at, 100 * at, 10 * at, 50 * at) for name in "12" for at in range(21)]
    before = series_of(parse_run(run(seconds=20, engines=readings)))
    assert before.swap is None
    for at, reading in zip([*range(21)] * 2, readings, strict=True):
        reading["metrics"] |= {
            "kv_offload_load_bytes": 2048.0 * at,
            "kv_offload_store_bytes": 1024.0 * at,
            "external_prefix_cache_hits": 10.0 * at,
        }
    series = series_of(parse_run(run(seconds=20, engines=readings)))
    assert (set(series.swap.loaded_per_s), set(series.swap.stored_per_s)) == ({4096}, {2048})
    assert all(now > then for now, then in zip(series.hit_share, before.hit_share, strict=True))
    page = tostring(strips(series), "unicode") + tostring(strips_table(series), "unicode")
    assert "KV from host" in page
    assert "KV bytes per s from host" in page


def test_an_engine_that_began_anew_does_not_count_backwards():
    readings = [engine("1", at, count, 0, 0) for at, count in ((0, 500), (5, 1000), (10, 200), (20, 400))]
    series = series_of(parse_run(run(seconds=20, engines=readings)))
    assert min(series.tokens_per_s) == 20
    assert series.tokens_per_s[7] == pytest.approx(40)


def test_an_engine_that_fell_silent_is_not_drawn_any_more():
    readings = [engine("1", at, 0, 0, 0, running=3) for at in (0, 1, 2)]
    series = series_of(parse_run(run(seconds=60, engines=readings)))
    assert series.running[0] == 3
    assert series.running[-1] is None


def test_without_engines_readings_the_tasks_own_counts_serve():
    history = [point(0, 0, 0, 0, 0), point(1, 0, 0, 0, 0), point(10, 4, 100, 0, 0), point(20, 9, 300, 150, 0)]
    series = series_of(parse_run(run(seconds=20, history=history)))
    assert not series.of_engines
    # nobody knows when within the first ten seconds
    assert series.tokens_per_s == pytest.approx([10] * 10 + [20] * 10)
    assert series.hit_share == pytest.approx([0] * 10 + [0.75] * 10)
    assert set(series.running) == {None}


def test_one_reading_is_no_series():
    assert series_of(parse_run(run(engines=[engine("1", 1, 5, 5, 5)]))) is None


def test_an_engine_that_stood_still_shows_it():
    readings = [engine("1", at, 0 if at < 16 else 100 * (at - 14), 0, 0) for at in range(0, 22, 2)]
    series = series_of(parse_run(run(seconds=20, engines=readings)))
    assert series.tokens_per_s[:14] == [0] * 14
    assert series.tokens_per_s[14:] == pytest.approx([100] * 6)
