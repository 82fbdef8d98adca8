"""The pilot: which rows, what they gain, and how sure that is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_llm.router.pilot import Pilot, PilotOutcome, interval
from spark_llm.router.sample import pilot_rows, pilot_size


@pytest.mark.parametrize(
    ("rows", "size"), [(0, 0), (7, 7), (50, 50), (1000, 50), (5000, 100), (5001, 101), (10**7, 300)]
)
def test_size(rows, size):
    assert pilot_size(rows) == size


def test_the_sample_is_of_rows_and_not_of_their_order():
    keys = [f"row {i}" for i in range(500)]
    lengths = [i % 40 for i in range(500)]
    first = {keys[at] for at in pilot_rows(keys, 60, lengths=lengths)}
    turned = pilot_rows(keys[::-1], 60, lengths=lengths[::-1])
    assert {keys[::-1][at] for at in turned} == first
    assert len(first) == 60


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=200), st.integers(1, 80))
def test_every_stratum_has_its_share(answers, size):
    rows = len(answers)
    found = pilot_rows([str(i) for i in range(rows)], size, answers=answers)
    assert len(found) == len(set(found.tolist())) == min(size, rows)
    for answer in set(answers):
        share = answers.count(answer) / rows
        if share >= 0.05:
            assert abs(sum(answers[at] == answer for at in found) - share * len(found)) <= 1


def test_gain_against_labels_leaves_cut_thoughts_out():
    outcome = Pilot(
        cheap_answers=["a", "A ", "x", None, "a"],
        costly_answers=[["a"], ["b"], ["c"], ["d"], ["z"]],
        cheap_tokens=[1] * 5, costly_tokens=[11] * 5,
        truncated=[[False], [False], [False], [False], [True]],
        labels=["a", "a", "c", "d", "a"],
    ).outcome()  # fmt: skip
    np.testing.assert_array_equal(outcome.gains, [0, -1, 1, 1, np.nan])
    assert (outcome.basis, outcome.truncated_rows, outcome.mean_gain()) == ("labels", 1, 0.25)
    assert outcome.extra_quantiles()[0.5] == 10


def test_without_labels_agreement_of_the_costly_samples_decides():
    def gain(cheap, *samples, cut=()):
        flags = [[i in cut for i in range(len(samples))]]
        return Pilot([cheap], [samples], [1], [5], truncated=flags).outcome()

    assert gain("b", "a", "a", "a").gains == [1.0]
    assert gain("a", "a", "a", "a").gains == [0.0]
    # A costly arm that guesses gains nothing.
    assert gain("d", "a", "b", "c").gains == [0.0]
    assert gain("a", "a", "a", "b").gains == pytest.approx([1 / 3 - 2 / 3])
    assert gain("b", "a", "a", "z", cut={2}).gains == [1.0]
    assert np.isnan(gain("b", "a", "z", "z", cut={1, 2}).gains[0])


def test_one_sample_is_the_most_that_can_be_gained():
    outcome = Pilot(["a", "b"], [["a"], ["a"]], [1, 1], [5, 5]).outcome()
    assert (outcome.gains.tolist(), outcome.basis) == ([0.0, 1.0], "difference")


def test_columns_of_different_length_are_refused():
    with pytest.raises(ValueError, match="must have 2 rows"):
        Pilot(["a", "b"], [["a"]], [1, 1], [1, 1]).outcome()


def test_the_thinking_budget_is_that_of_thoughts_that_succeeded():
    gains = np.array([1.0] * 10 + [0.0] * 10 + [-1.0] * 5)
    thinking = np.array([*range(1, 11), *[500] * 10, *[900] * 5], float)
    outcome = PilotOutcome(gains, thinking, thinking, np.zeros(25, bool))
    assert outcome.thinking_budget_tokens() == 10
    assert (
        PilotOutcome(gains[10:], thinking[10:], thinking[10:], np.zeros(15, bool)).thinking_budget_tokens()
        == 500
    )
    assert (
        PilotOutcome(gains[20:], thinking[20:], thinking[20:], np.zeros(5, bool)).thinking_budget_tokens()
        is None
    )


@pytest.mark.parametrize("rows", [50, 100, 300])
@pytest.mark.parametrize(
    ("fixed", "broken"), [(0.02, 0.0), (0.05, 0.05), (0.25, 0.07), (0.6, 0.0), (0.01, 0.2)]
)
def test_the_interval_covers_the_truth(rows, fixed, broken):
    rng = np.random.default_rng(1)
    draws = rng.choice([1.0, -1.0, 0.0], (2000, rows), p=[fixed, broken, 1 - fixed - broken])
    covers = [low <= fixed - broken <= high for low, high in map(interval, draws)]
    # Of 95 %: few rows that differ come in steps.
    assert np.mean(covers) >= 0.92


def test_the_interval_has_a_width_where_all_rows_agree():
    low, high = interval(np.zeros(50))
    assert low == pytest.approx(-high)
    assert high == pytest.approx(1.96 * np.sqrt(2) / 54, rel=1e-3)
    assert interval(np.zeros(0)) == (-1.0, 1.0)
