"""The draft lengths that are chosen have the best rate there is, whatever fits and whatever a token costs."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_llm.smartspec.marginal import Cost, choose

probability = st.floats(0.0, 1.0, width=16)


@st.composite
def problems(draw):
    rows, positions = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    conditional = draw(st.lists(probability, min_size=rows * positions, max_size=rows * positions))
    survival = np.cumprod(np.array(conditional).reshape(positions, rows), axis=0)
    cost = Cost(
        step_s=draw(st.floats(0.25, 4.0)),
        token_s=draw(st.floats(0.0, 2.0)),
        free_tokens=draw(st.integers(0, 5)),
        room_tokens=draw(st.integers(-1, 14)),
        gain_tokens=draw(st.sampled_from([0.0, 0.5, 2.0])),
    )
    return survival, cost


def outcome(survival, cost, lengths):
    """Rate of these draft lengths; None where they do not fit."""
    drafts = sum(lengths)
    gained = sum(survival[:k, row].sum() for row, k in enumerate(lengths))
    if drafts and drafts + cost.gain_tokens * gained > cost.room_tokens + 1e-9:
        return None
    return (len(lengths) + gained) / (cost.step_s + cost.token_s * max(0, drafts - cost.free_tokens))


@given(problems())
@settings(max_examples=200, deadline=None)
def test_as_good_as_trying_all(problem):
    survival, cost = problem
    chosen = choose(survival, cost)
    slack = (
        1.0 / cost.step_s if cost.gain_tokens else 0.0
    )  # what the first one that no longer fits would gain
    every = itertools.product(range(len(survival) + 1), repeat=survival.shape[1])
    best = max(rate for lengths in every if (rate := outcome(survival, cost, lengths)) is not None)
    assert best - slack <= chosen.tokens_per_s * (1 + 1e-6)
    assert np.isclose(outcome(survival, cost, chosen.lengths.tolist()), chosen.tokens_per_s, rtol=1e-6)
    assert chosen.drafts == chosen.lengths.sum()


def test_equal_tokens_are_given_out_until_they_no_longer_fit():
    chosen = choose(np.full((2, 3), 1.0), Cost(1.0, 0.0, 0, 4, 0.0))
    assert chosen.lengths.tolist() == [2, 1, 1]


def test_nothing_where_a_token_costs_more_than_it_gains():
    chosen = choose(np.full((2, 3), 0.5), Cost(1.0, 0.6, 0, 9, 0.0))
    assert (chosen.tokens_per_s, chosen.lengths.tolist()) == (3.0, [0, 0, 0])


def test_accepted_tokens_take_room_for_the_prompts_that_follow_sooner():
    chosen = choose(np.array([[0.9, 0.8], [0.5, 0.4]]), Cost(1.0, 0.0, 0, 4.0, 1.0))
    assert chosen.lengths.tolist() == [1, 1]
