"""What may be said about a running query, and what may not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from progress_helpers import call, snapshot

from spark_llm.progress.model import Model


def states(*snapshots):
    model = Model()
    return [model.update(each)[0].calls for each in snapshots]


def test_seconds_left_follow_from_tokens_left_and_the_recent_rate():
    first, _, last = states(
        snapshot(0, call(expected=1000)),
        snapshot(10, call(rows=100, prompt=9000, generated=1000, expected=1000)),
        snapshot(20, call(rows=200, prompt=18000, generated=2000, expected=1000)),
    )
    assert first[0].left_s is None
    assert last[0].tokens_per_s == pytest.approx(1000)
    assert last[0].share == pytest.approx(0.2)
    assert last[0].left_s == pytest.approx(80)  # 80,000 tokens at 1,000 a second


def test_long_rows_that_come_last_are_counted_by_their_bytes():
    _, (half,) = states(
        snapshot(0, call(expected=1000, size=10_000)),
        snapshot(10, call(rows=500, prompt=1000, expected=1000, size=10_000, done_bytes=1000)),
    )
    assert half.share == pytest.approx(0.1)
    assert half.expected_rows == 1000


def test_without_a_total_there_is_neither_share_nor_seconds_left():
    _, (one,) = states(snapshot(0, call()), snapshot(9, call(rows=500, prompt=1000)))
    assert (one.share, one.left_s, one.expected_rows) == (None, None, None)
    assert one.answered_rows == 500


def test_an_estimate_that_more_rows_disprove_is_dropped():
    ((one,),) = states(snapshot(5, call(rows=101, expected=100, exact=False)))
    assert one.expected_rows is None
    assert one.share is None


def test_a_call_behind_a_filter_on_answers_extrapolates_what_came_so_far():
    ((below, above),) = states(
        snapshot(5, call(1, rows=200, expected=1000), call(2, rows=50, answered=40, follows=1))
    )
    assert below.share == pytest.approx(0.2)
    assert above.expected_rows == 250
    assert not above.exact
    assert above.share == pytest.approx(0.16)


def test_rates_begin_when_the_call_does():
    *_, (one,) = states(
        snapshot(0, call(expected=100)),
        snapshot(600, call(expected=100)),
        snapshot(610, call(rows=10, prompt=5000, expected=100)),
    )
    assert one.tokens_per_s == pytest.approx(500)


def test_rates_forget_what_is_older_than_half_a_minute():
    fast = [snapshot(at, call(rows=at, prompt=1000 * at, expected=1000)) for at in range(1, 11)]
    slow = [snapshot(10 + at, call(rows=10, prompt=10_000 + 10 * at, expected=1000)) for at in range(1, 60)]
    assert states(*fast, *slow)[-1][0].tokens_per_s == pytest.approx(10)


def test_counters_that_a_release_does_not_have_are_zero_and_those_it_has_are_shown():
    ((plain,), (full,)) = states(
        snapshot(5, call(rows=3)), snapshot(6, call(rows=3, cachedRows=2, retries=1, overBudgetRows=4))
    )
    assert (plain.cached_rows, plain.retries, plain.over_budget_rows) == (0, 0, 0)
    assert (full.cached_rows, full.retries, full.over_budget_rows) == (2, 1, 4)


def test_an_ended_query_is_whole_and_took_what_it_took():
    model = Model()
    (query,) = model.update(snapshot(90, call(rows=5, expected=1000), ended_s=60))
    assert (query.ended, query.elapsed_s, query.calls[0].share, query.calls[0].expected_rows) == (
        True,
        60,
        1.0,
        5,
    )


@given(
    st.lists(
        st.tuples(st.integers(0, 500), st.integers(0, 400), st.integers(0, 10**6), st.integers(0, 10**4)),
        max_size=8,
    ),
    st.sampled_from([None, 0, 1, 100, 400]),
    st.booleans(),
)
def test_no_history_breaks_it_or_makes_it_boast(seen, expected, exact):
    model, at = Model(), 0.0
    for gap, rows, prompt, cached in seen:
        at += gap
        counted = call(rows=rows, prompt=prompt, cached=min(cached, prompt), expected=expected, exact=exact)
        (query,) = model.update(snapshot(at, counted))
        (state,) = query.calls
        assert state.share is None or 0 <= state.share <= 1
        assert state.left_s is None or state.left_s >= 0
        assert state.tokens_per_s is None or state.tokens_per_s >= 0
        if state.share == 1:
            assert rows >= (expected or 0)
