"""The draft lengths that are chosen have the best ratio there is, whatever a draft token costs."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_llm.smartspec.marginal import Piece, choose

probability = st.floats(0.0, 1.0, width=16)
seconds = st.floats(0.0, 2.0, width=16)


@st.composite
def problems(draw):
    rows, positions = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    conditional = draw(st.lists(probability, min_size=rows * positions, max_size=rows * positions))
    survival = np.cumprod(np.array(conditional).reshape(positions, rows), axis=0)
    ends = sorted(draw(st.lists(st.integers(0, rows * positions + 2), min_size=1, max_size=3)))
    pieces = [Piece(end, draw(seconds), draw(seconds)) for end in ends]
    return survival, draw(st.floats(0.25, 4.0)), draw(st.floats(0.25, 4.0)), draw(st.floats(0.1, 4.0)), pieces


def ratio(survival, value, step_s, token_value, pieces, lengths):
    count, before = sum(lengths), 0
    for piece in pieces:
        inside = max(min(count, piece.most) - before, 0)
        value, step_s = value - piece.loss_s * inside, step_s + piece.cost_s * inside
        before = max(before, piece.most)
    gained = sum(survival[:k, row].sum() for row, k in enumerate(lengths))
    return (value + token_value * gained) / step_s


@given(problems())
@settings(max_examples=300, deadline=None)
def test_as_good_as_trying_all(problem):
    survival, value, step_s, token_value, pieces = problem
    chosen = choose(*problem)
    fits = [
        lengths
        for lengths in itertools.product(range(len(survival) + 1), repeat=survival.shape[1])
        if sum(lengths) <= pieces[-1].most
    ]
    best = max(ratio(*problem, lengths) for lengths in fits)
    assert sum(chosen.lengths) <= pieces[-1].most
    assert np.isclose(chosen.score, best, rtol=1e-9)
    assert np.isclose(ratio(*problem, chosen.lengths.tolist()), best, rtol=1e-9)


def test_equal_tokens_are_given_out_until_they_no_longer_fit():
    chosen = choose(np.full((2, 3), 1.0), 3.0, 1.0, 1.0, [Piece(4, 0.0, 0.0)])
    assert chosen.lengths.tolist() == [2, 1, 1]


def test_nothing_where_a_token_costs_more_than_it_gains():
    chosen = choose(np.full((2, 3), 0.5), 1.0, 1.0, 1.0, [Piece(6, 0.6, 0.0)])
    assert (chosen.score, chosen.lengths.tolist()) == (1.0, [0, 0, 0])
