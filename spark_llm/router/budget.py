"""Which rows get the costly arm: most gain per extra token first, as far as the budget goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from spark_llm.router.router import Router
    from spark_llm.router.signals import Signals

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

TOLERANCE: Final = 0.005
"""Without a budget: gain per row that may be left, for the tokens it would take."""
MOST_REMEMBERED: Final = 20_000
FEWEST_MEASURED: Final = 20


@dataclass(frozen=True, slots=True)
class Budget:
    """What the costly arm may take beyond the cheap one. All limits that are given hold; none is no limit.

    Attributes:
        total_tokens: extra tokens of the whole query.
        row_tokens: extra tokens per row of the query, on average over all of them.
        share: rows that may be chosen, between 0 and 1.
    """

    total_tokens: float | None = None
    row_tokens: float | None = None
    share: float | None = None

    def __post_init__(self) -> None:
        if self.share is not None and not 0 <= self.share <= 1:
            raise ValueError(f"share must lie between 0 and 1, not {self.share}")
        for name in ("total_tokens", "row_tokens"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ValueError(f"{name} must be at least 0, not {value}")

    def tokens(self, rows: int) -> float:
        """Extra tokens that `rows` rows, which are the whole query, may take; infinite without a limit."""
        limits = [self.total_tokens, None if self.row_tokens is None else self.row_tokens * rows]
        return min((limit for limit in limits if limit is not None), default=np.inf)

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        return (self.total_tokens, self.row_tokens, self.share) != (None, None, None)


def knapsack(gain: Floats, extra_tokens: Floats, tokens: float, most_rows: float = np.inf) -> Bools:
    """The rows with most gain per extra token that fit; the first that does not fit ends the list.

    The fractional knapsack's solution without its fraction: at most one row's gain below the optimum. Rows
    that gain nothing are never taken, rows that gain and take no more tokens always.

    Args:
        gain: expected, shape (rows,).
        extra_tokens: expected, shape (rows,).
        tokens: to be spent at most.
        most_rows: to be taken at most; then rows are in order of gain where tokens are no limit.

    Returns:
        Shape (rows,): whether a row is taken.
    """
    cost = np.maximum(extra_tokens, 0.0)
    order = _order(gain, cost if np.isfinite(tokens) or not np.isfinite(most_rows) else np.ones_like(cost))
    order = order[gain[order] > 0]
    fits = (np.cumsum(cost[order]) <= tokens) & (np.arange(len(order)) < most_rows)
    taken = np.zeros(len(gain), bool)
    taken[order[: int(np.argmin(fits)) if not fits.all() else len(order)]] = True
    return taken


def worthwhile(gain: Floats, extra_tokens: Floats, tolerance: float = TOLERANCE) -> Bools:
    """Without a budget: the best rows, until the others would gain less than `tolerance` per row.

    Args:
        gain: expected, shape (rows,).
        extra_tokens: expected, shape (rows,).
        tolerance: mean gain over the table that may be left for the sake of tokens.
    """
    order = _order(gain, np.maximum(extra_tokens, 0.0))
    left = np.cumsum(np.maximum(gain[order][::-1], 0.0))[::-1]
    taken = np.zeros(len(gain), bool)
    taken[order[(left > tolerance * len(gain)) & (gain[order] > 0)]] = True
    return taken


def _order(gain: Floats, cost: Floats) -> npt.NDArray[np.int64]:
    """Positions by gain per token, highest first; equal ones by gain, then as they come."""
    density = gain / np.maximum(cost, 1.0)
    return np.asarray(np.lexsort((-gain, -density)))


class Stream:
    """Chooses window by window, where rows to come are not known; what a window leaves, the next may spend.

    A row is taken where its gain per token is among the best of all rows seen so far, this window's
    included, so that a window of hard rows gets more than one of easy ones. Expected tokens are corrected by
    what the chosen rows took.

    Args:
        router: fitted.
        budget: with `total_tokens`, `rows` must be given.
        rows: of the whole query, where known.
        tolerance: see `worthwhile`.

    Raises:
        ValueError: a budget for the whole query without its number of rows.
    """

    def __init__(
        self, router: Router, budget: Budget, *, rows: int | None = None, tolerance: float = TOLERANCE
    ) -> None:
        if budget.total_tokens is not None and rows is None:
            raise ValueError(
                "a budget for the whole query needs its number of rows; give a budget per row instead"
            )
        self._router, self._budget, self._rows, self._tolerance = router, budget, rows, tolerance
        self._gain, self._cost = np.zeros(0), np.zeros(0)
        self.seen_rows = self.chosen_rows = 0
        self._booked = self._measured_expected = self._measured = 0.0
        self._measured_rows = 0

    @property
    def cost_factor(self) -> float:
        """Tokens that chosen rows took over what was expected of them; 1 until twenty were measured."""
        if self._measured_rows < FEWEST_MEASURED or self._measured_expected <= 0:
            return 1.0
        return self._measured / self._measured_expected

    @property
    def spent_tokens(self) -> float:
        """Extra tokens of the chosen rows: as measured, as expected where not measured yet."""
        return self._measured + self.cost_factor * max(self._booked - self._measured_expected, 0.0)

    def choose(self, signals: Signals) -> Bools:
        """Whether each row of the window gets the costly arm, shape (rows,)."""
        expected = self._router.expected(signals)
        self._gain = np.concatenate([self._gain, expected.gain])[-MOST_REMEMBERED:]
        self._cost = np.concatenate([self._cost, expected.extra_tokens])[-MOST_REMEMBERED:]
        self.seen_rows += signals.rows
        window = slice(max(len(self._gain) - signals.rows, 0), None)
        cost = self._cost * self.cost_factor
        if self._budget.limited:
            tokens, most_rows = self._left()
            # What the window may spend, as if all remembered rows might spend as much each.
            times = len(self._gain) / max(signals.rows, 1)
            among_best = knapsack(self._gain, cost, tokens * times, most_rows * times)[window]
            taken = knapsack(np.where(among_best, self._gain[window], 0.0), cost[window], tokens, most_rows)
        else:
            taken = worthwhile(self._gain, cost, self._tolerance)[window]
        # A window longer than what is remembered: its oldest rows are not weighed.
        taken = np.concatenate([np.zeros(signals.rows - len(taken), bool), taken])
        self.chosen_rows += int(taken.sum())
        self._booked += float(expected.extra_tokens[taken].sum())
        return taken

    def measured(self, expected_tokens: float, tokens: float, rows: int) -> None:
        """Tells what chosen rows took.

        Args:
            expected_tokens: of these rows, as `Router.expected` says.
            tokens: extra tokens they took.
            rows: how many.
        """
        self._measured += tokens
        self._measured_expected += expected_tokens
        self._measured_rows += rows

    def _left(self) -> tuple[float, float]:
        """Tokens and rows that may still be spent on what was seen."""
        rows = self.seen_rows if self._rows is None else max(self._rows, self.seen_rows)
        tokens = self._budget.tokens(rows) * self.seen_rows / max(rows, 1) - self.spent_tokens
        share = self._budget.share
        most_rows = np.inf if share is None else round(share * self.seen_rows) - self.chosen_rows
        return max(tokens, 0.0), max(most_rows, 0.0)
