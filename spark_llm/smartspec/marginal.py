"""Draft lengths that maximise value per second, exactly, without sorting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spark_llm.smartspec.acceptance import Floats
    from spark_llm.smartspec.policy import Ints

_MAX_PASSES: Final = 12
_ENOUGH: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of draft tokens that cost the same.

    Attributes:
        most: draft tokens of the step up to which it holds, those of the pieces before it included.
        cost_s: seconds that each adds to the step.
        loss_s: value that each takes away: what a prompt token that it displaces is worth.
    """

    most: int
    cost_s: float
    loss_s: float


@dataclass(frozen=True, slots=True)
class Chosen:
    """The best there is.

    Attributes:
        score: value per second.
        lengths: shape (rows,): draft tokens of each row.
        least: survival that a draft token needed; higher ones were taken.
    """

    score: float
    lengths: Ints
    least: float


def choose(
    survival: Floats, value: float, step_s: float, token_value: float, pieces: Sequence[Piece]
) -> Chosen:
    """Maximises `(value + token_value·Σ survival − losses) / (step_s + costs)` over the draft lengths.

    A row's survival falls with the position, so any set `survival > least` is a draft length per row, and for a
    given ratio θ the best one has `least = (loss + θ·cost) / token_value`. Dinkelbach's iteration raises θ to
    the optimum, in two to four passes over the array. Pieces are tried one after another, each with the θ of
    those before it; only where a piece ends too early the tokens have to be ranked.

    Args:
        survival: shape (positions, rows): probability that the draft is right up to and with a position, not
            rising along the first axis; 0 where there is no draft.
        value: of the step without drafts, in seconds of work.
        step_s: seconds of the step before the first draft token, what drafting costs at all included.
        token_value: of one token gained.
        pieces: what draft tokens cost, in the order in which they are used up; further ones do not fit.
    """
    flat = survival.ravel()
    best, least, count = value / step_s, np.inf, 0
    before, cost_before, loss_before = 0, 0.0, 0.0
    for piece in pieces:
        if piece.most <= before:
            continue
        score = best
        for _ in range(_MAX_PASSES):
            at = max((piece.loss_s + score * piece.cost_s) / token_value, 0.0)
            taken = flat > at
            n = int(np.count_nonzero(taken))
            if n <= before:
                break
            if n > piece.most:
                n = piece.most
                at, gained = _top(flat, n)
            else:
                gained = float(np.dot(flat, taken))
            numerator = value + token_value * gained - loss_before - piece.loss_s * (n - before)
            here = numerator / (step_s + cost_before + piece.cost_s * (n - before))
            if here > best:
                best, least, count = here, at, n
            if here <= score + _ENOUGH * abs(score):
                break
            score = here
        cost_before += piece.cost_s * (piece.most - before)
        loss_before += piece.loss_s * (piece.most - before)
        before = piece.most
    return Chosen(best, _lengths(survival, least, count), float(least))


def _top(flat: Floats, n: int) -> tuple[float, float]:
    """The n-th highest, and the sum of the n highest."""
    ranked = np.partition(flat, len(flat) - n)[len(flat) - n :]
    return float(ranked[0]), float(ranked.sum())


def _lengths(survival: Floats, least: float, count: int) -> Ints:
    rows = survival.shape[1]
    if not count:
        return np.zeros(rows, np.int64)
    taken = survival > least
    lengths = taken.sum(axis=0)
    short = count - int(lengths.sum())
    if short > 0:
        # Equals of the last one that fits, shorter positions first so that no draft has a hole.
        equal = np.flatnonzero(survival.ravel() == least)[:short]
        lengths += np.bincount(equal % rows, minlength=rows)
    return lengths
