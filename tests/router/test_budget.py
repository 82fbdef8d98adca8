"""The knapsack: budgets are kept, and more of them never gains less."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from spark_llm.router.budget import Budget, Stream, knapsack, worthwhile
from spark_llm.router.router import Expected
from spark_llm.router.signals import Signals

ROWS = st.integers(1, 40)
TABLES = ROWS.flatmap(
    lambda n: st.tuples(
        hnp.arrays(float, n, elements=st.floats(-1, 1, width=32)),
        hnp.arrays(float, n, elements=st.integers(1, 500).map(float)),
    )
)


@settings(max_examples=60, deadline=None)
@given(TABLES, st.floats(0, 5000))
def test_the_budget_is_kept_and_no_row_without_gain_is_taken(table, tokens):
    gain, cost = table
    taken = knapsack(gain, cost, tokens)
    assert cost[taken].sum() <= tokens + 1e-6
    assert (gain[taken] > 0).all()
    # The fractional optimum is no more than one row away.
    order = np.argsort(-gain / cost, kind="stable")
    order = order[gain[order] > 0]
    left, best = tokens, 0.0
    for row in order:
        part = min(1.0, left / cost[row])
        best, left = best + part * gain[row], left - part * cost[row]
        if left <= 0:
            break
    assert gain[taken].sum() >= best - max(gain.max(), 0) - 1e-9


@settings(max_examples=60, deadline=None)
@given(TABLES, st.floats(0, 3000), st.floats(0, 3000))
def test_more_budget_takes_the_same_rows_and_more(table, one, two):
    less, more = (knapsack(*table, tokens) for tokens in sorted((one, two)))
    assert (more | ~less).all()


@settings(max_examples=40, deadline=None)
@given(TABLES, st.integers(0, 40))
def test_a_share_takes_the_rows_with_most_gain(table, most):
    gain, cost = table
    taken = knapsack(gain, cost, np.inf, most)
    assert taken.sum() == min(most, (gain > 0).sum())
    if taken.any() and (~taken).any():
        assert gain[taken].min() >= gain[~taken].max() or (gain[~taken] <= 0).all() or taken.sum() == most


@settings(max_examples=40, deadline=None)
@given(TABLES)
def test_without_a_budget_what_is_left_gains_little(table):
    gain, cost = table
    taken = worthwhile(gain, cost, 0.01)
    assert (gain[taken] > 0).all()
    assert np.maximum(gain[~taken], 0).sum() <= 0.01 * len(gain) + 1e-9


@pytest.mark.parametrize("budget", [{"share": 1.2}, {"total_tokens": -1}, {"row_tokens": float("nan")}])
def test_budgets_out_of_range_are_refused(budget):
    with pytest.raises(ValueError, match="must"):
        Budget(**budget)


class Given:
    """A router whose expectation is the signals themselves."""

    def __init__(self, cost=10.0):
        self.cost = cost

    def expected(self, signals):
        gain = signals.margin
        return Expected(gain, np.full(signals.rows, self.cost), gain)


def windows(count, rows, seed=0, top=1.0):
    rng = np.random.default_rng(seed)
    return [Signals(rows, margin=rng.uniform(-0.2, top, rows)) for _ in range(count)]


@pytest.mark.parametrize("true_cost", [6.0, 10.0, 17.0])
def test_a_stream_spends_its_budget_whatever_rows_really_take(true_cost):
    rows, parts = 200, windows(20, 200)
    stream = Stream(Given(), Budget(row_tokens=3.0))
    spent = 0.0
    for part in parts:
        taken = stream.choose(part)
        assert (part.margin[taken] > 0).all()
        spent += true_cost * taken.sum()
        stream.measured(10.0 * taken.sum(), true_cost * taken.sum(), int(taken.sum()))
    assert spent == pytest.approx(3.0 * rows * len(parts), rel=0.05)
    assert stream.spent_tokens == pytest.approx(spent)


def test_what_easy_windows_leave_hard_ones_spend():
    # Half of the rows gain nothing: their allowance goes to the later half.
    easy, hard = windows(5, 100, top=-0.1), windows(5, 100)
    stream = Stream(Given(), Budget(total_tokens=3000.0), rows=1000)
    chosen = [int(stream.choose(part).sum()) for part in (*easy, *hard)]
    assert chosen[:5] == [0] * 5
    assert 290 <= sum(chosen) <= 300


def test_a_stream_keeps_a_share():
    stream = Stream(Given(), Budget(share=0.3))
    chosen = sum(int(stream.choose(part).sum()) for part in windows(10, 100))
    assert chosen == pytest.approx(300, abs=15)


def test_a_budget_for_the_whole_query_needs_its_rows():
    with pytest.raises(ValueError, match="number of rows"):
        Stream(Given(), Budget(total_tokens=5))


def test_empty_windows_are_fine():
    for budget in (Budget(), Budget(share=0.5)):
        assert Stream(Given(), budget).choose(Signals(0, margin=np.zeros(0))).shape == (0,)
