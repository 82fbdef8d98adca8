"""Draft lengths with the most tokens per second, exactly, without sorting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from spark_llm.smartspec.acceptance import Chances
    from spark_llm.smartspec.policy import Ints

_MAX_PASSES: Final = 12
_ENOUGH: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Cost:
    """What a step costs, and how many drafts it has room for.

    Attributes:
        step_s: seconds before the first draft token, what drafting costs at all included.
        token_s: seconds per draft token.
        free_tokens: the first ones, which cost nothing.
        room_tokens: draft tokens and what they bring with them have to fit here.
        gain_tokens: what an accepted token brings with it: prompt tokens of the rows that follow sooner.
    """

    step_s: float
    token_s: float
    free_tokens: int
    room_tokens: float
    gain_tokens: float


@dataclass(frozen=True, slots=True)
class Chosen:
    """The best there is.

    Attributes:
        tokens_per_s: rate, expected; without drafts where there are none.
        lengths: shape (rows,): draft tokens of each row.
        drafts: their sum.
        gained: tokens of them that are expected to be accepted.
        least: survival that the last draft token had.
    """

    tokens_per_s: float
    lengths: Ints
    drafts: int
    gained: float
    least: float


def choose(survival: Chances, cost: Cost) -> Chosen:
    """Maximises `(rows + Σ survival) / (step_s + token_s·max(0, drafts − free))` over the draft lengths.

    A row's survival falls with the position, so any set `survival > least` is a draft length per row, and for
    a given ratio θ the best one has `least = θ·token_s`. Dinkelbach's iteration raises θ to the optimum, in
    two to four passes over the array. Up to there the rate rises with each token in order of survival, and so
    does the room they take: where they do not fit, as many of the likeliest are taken as do.

    Args:
        survival: shape (positions, rows): probability that the draft is right up to and with a position, not
            rising along the first axis; 0 where there is no draft.
        cost: of the step.
    """
    rows = survival.shape[1]
    if cost.room_tokens < 1:
        return Chosen(rows / cost.step_s, np.zeros(rows, np.int64), 0, 0.0, np.inf)
    flat = survival.ravel()
    if cost.token_s > 0:
        drafts, least, gained = _dinkelbach(flat, rows, cost)
    else:
        drafts, least, gained = 0, np.inf, 0.0
    if drafts < cost.free_tokens or cost.token_s <= 0:
        most = cost.free_tokens if cost.token_s > 0 else len(flat)
        drafts, least, gained = _likeliest(flat, 0.0, most, 0.0)
    if drafts + cost.gain_tokens * gained > cost.room_tokens:
        drafts, least, gained = _likeliest(flat, least, cost.room_tokens, cost.gain_tokens)
    rate = (rows + gained) / (cost.step_s + cost.token_s * max(0, drafts - cost.free_tokens))
    return Chosen(rate, _lengths(survival, least, drafts), drafts, gained, least)


def _dinkelbach(flat: Chances, rows: int, cost: Cost) -> tuple[int, float, float]:
    """The optimum as if all tokens cost the same and the free ones were a rebate."""
    base_s = cost.step_s - cost.token_s * cost.free_tokens
    rate, found = 0.0, (0, np.inf, 0.0)
    least = rows / cost.step_s * cost.token_s
    for _ in range(_MAX_PASSES):
        taken = flat > least
        drafts = int(np.count_nonzero(taken))
        if drafts < cost.free_tokens:
            # θ has passed what the free ones can pay: the optimum is where these end.
            return 0, np.inf, 0.0
        gained = float(np.dot(flat, taken))
        here = (rows + gained) / (base_s + cost.token_s * drafts)
        if here <= rate * (1.0 + _ENOUGH):
            break
        rate, found = here, (drafts, least, gained)
        least = here * cost.token_s
    return found


def _likeliest(
    flat: Chances, least: float, room_tokens: float, gain_tokens: float
) -> tuple[int, float, float]:
    """As many as there is room for, of those from `least` on."""
    ranked = np.sort(flat[flat >= least] if least > 0 else flat[flat > 0])[::-1]
    gained = np.cumsum(ranked, dtype=np.float64)
    taken = np.arange(1, len(ranked) + 1) + gain_tokens * gained
    drafts = int(taken.searchsorted(room_tokens, side="right"))
    if not drafts:
        return 0, np.inf, 0.0
    return drafts, float(ranked[drafts - 1]), float(gained[drafts - 1])


def _lengths(survival: Chances, least: float, drafts: int) -> Ints:
    rows = survival.shape[1]
    if not drafts:
        return np.zeros(rows, np.int64)
    lengths: Ints = (survival > least).sum(axis=0)
    short = drafts - int(lengths.sum())
    if short > 0:
        # Equals of the last one that fits, shorter positions first so that no draft has a hole.
        equal = np.flatnonzero(survival.ravel() == least)[:short]
        lengths += np.bincount(equal % rows, minlength=rows)
    return lengths
