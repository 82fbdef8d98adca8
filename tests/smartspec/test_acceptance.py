"""Acceptance is what it is, whatever is drafted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_llm.smartspec.acceptance import DEFAULT, Acceptance
from spark_llm.smartspec.policy import StepResult


def result(slots, drafted, accepted, forced=None):
    drafted, accepted = np.asarray(drafted), np.asarray(accepted)
    forced = np.zeros_like(drafted) if forced is None else np.asarray(forced)
    tokens = len(drafted) + int(drafted.sum())
    return StepResult(np.asarray(slots), drafted, accepted, forced, 1000, tokens, 0, len(drafted), 0.01, 0.0)


def feed(acceptance, alphas, k, steps, forced=0, seed=0):
    """Rows with these chances draft k tokens each, `forced` of them sure."""
    rng, alphas = np.random.default_rng(seed), np.asarray(alphas)
    slots = np.arange(len(alphas))
    for _ in range(steps):
        accepted = np.minimum(rng.geometric(1 - alphas) - 1 + forced, k)
        acceptance.observe(result(slots, np.full(len(slots), k), accepted, np.full(len(slots), forced)))


@pytest.mark.parametrize("alpha", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("k", [1, 3, 7])
def test_the_estimate_does_not_depend_on_the_draft_length(alpha, k):
    acceptance = Acceptance(7)
    feed(acceptance, np.full(256, alpha), k, 40)
    assert acceptance.common[0] == pytest.approx(alpha, abs=0.04)
    assert acceptance.survival(np.arange(4))[0] == pytest.approx(alpha, abs=0.15)


def test_positions_have_their_own_acceptance():
    acceptance, rng = Acceptance(3), np.random.default_rng(0)
    slots = np.arange(300)
    for _ in range(30):
        right = rng.random((300, 3)) < [0.5, 0.9, 0.7]
        accepted = np.logical_and.accumulate(right, axis=1).sum(axis=1)
        acceptance.observe(result(slots, np.full(300, 3), accepted))
    assert acceptance.common == pytest.approx([0.5, 0.9, 0.7], abs=0.05)
    assert acceptance.survival(slots).mean(axis=1) == pytest.approx([0.5, 0.45, 0.315], abs=0.08)


def test_positions_never_tried_follow_those_before_them():
    acceptance = Acceptance(5)
    feed(acceptance, np.full(64, 0.4), 1, 40)
    assert np.ptp(acceptance.common) == pytest.approx(0.0, abs=1e-9)


def test_a_row_that_is_better_is_known_and_forgotten_when_it_ends():
    acceptance = Acceptance(4)
    feed(acceptance, [0.3] * 15 + [0.95], 4, 40)
    first = acceptance.survival(np.arange(16))[0]
    assert first[-1] > 0.65
    assert first[:-1].mean() == pytest.approx(0.3, abs=0.1)
    acceptance.release(np.array([15]))
    assert acceptance.survival(np.array([15]))[0, 0] == pytest.approx(acceptance.common[0], abs=1e-6)


def test_a_row_that_is_not_drafted_for_drifts_back_to_the_rest():
    acceptance = Acceptance(4)
    feed(acceptance, [0.9] * 15 + [0.05], 4, 30)
    was = acceptance.survival(np.array([15]))[0, 0]
    rng = np.random.default_rng(1)
    for _ in range(200):
        accepted = np.minimum(rng.geometric(0.1, 15) - 1, 4)
        acceptance.observe(result(np.arange(16), [4] * 15 + [0], [*accepted, 0]))
    assert was < 0.4
    assert acceptance.survival(np.array([15]))[0, 0] > 0.7


def test_forced_tokens_are_sure_and_no_evidence():
    acceptance = Acceptance(6)
    feed(acceptance, np.full(128, 0.3), 5, 40, forced=3)
    assert acceptance.common[3] == pytest.approx(0.3, abs=0.05)
    assert acceptance.common[0] == pytest.approx(DEFAULT, abs=1e-9)
    survival = acceptance.survival(np.arange(2), np.array([2, 0]))
    assert survival[:2, 0].tolist() == [1.0, 1.0]
    assert survival[2, 0] == pytest.approx(acceptance.common[2], abs=0.2)
    assert survival[0, 1] < 1.0


def test_rows_without_drafts_say_nothing():
    acceptance = Acceptance(4)
    for _ in range(100):
        acceptance.observe(result(np.arange(8), [0] * 8, [0] * 8))
        acceptance.observe(result(np.arange(8), [2] * 8, [2] * 8, [2] * 8))
    assert acceptance.common == pytest.approx(np.full(4, DEFAULT))
    assert acceptance.trials == 0


@given(
    st.lists(
        st.lists(
            st.tuples(st.integers(0, 40), st.integers(0, 6), st.integers(0, 6), st.integers(0, 6)), max_size=8
        ),
        max_size=12,
    )
)
@settings(max_examples=100, deadline=None)
def test_whatever_comes_it_stays_a_probability_that_falls_with_the_position(steps):
    acceptance = Acceptance(5)
    for step in steps:
        rows = list({row[0]: row for row in step}.values())
        slots = np.array([row[0] for row in rows], np.int64)
        drafted = np.array([row[1] for row in rows], np.int64)
        accepted = np.minimum([row[2] for row in rows], drafted).astype(np.int64)
        forced = np.minimum([row[3] for row in rows], drafted).astype(np.int64)
        acceptance.observe(result(slots, drafted, accepted, forced))
        survival = acceptance.survival(slots, forced)
        assert survival.shape == (5, len(rows))
        assert (np.isfinite(survival) & (survival >= 0) & (survival <= 1)).all()
        assert (np.diff(survival, axis=0) <= 1e-6).all()
    assert ((acceptance.common > 0) & (acceptance.common < 1)).all()
