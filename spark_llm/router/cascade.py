"""The whole query off, on, or row by row: decided from the pilot, with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from spark_llm.router.budget import Budget
    from spark_llm.router.pilot import PilotOutcome
    from spark_llm.router.router import Router

Choice = Literal["off", "on", "per_row"]

SMALLEST_GAIN: Final = 0.01
NO_SIGNAL_AUC: Final = 0.55


@dataclass(frozen=True, slots=True)
class Decision:
    """What the cascade does with a query.

    Attributes:
        choice: `off` and `on` are the cheap and the costly arm for all rows; `per_row` asks the router.
        reason: in words and numbers, as EXPLAIN prints it.
    """

    choice: Choice
    reason: str


@dataclass(frozen=True, slots=True)
class Cascade:
    """The rule.

    Attributes:
        smallest_gain: share of rows that must gain for the costly arm to be worth its tokens.
        confidence: of the interval.
    """

    smallest_gain: float = SMALLEST_GAIN
    confidence: float = 0.95

    def decide_query(
        self,
        outcome: PilotOutcome,
        router: Router | None = None,
        budget: Budget | None = None,
        rows: int | None = None,
    ) -> Decision:
        """Decides a query.

        Off, where the upper end of the gain's interval is below `smallest_gain`. On, where the lower end is
        above it and no signal tells rows apart (AUC below 0.55 in cross-validation), unless the budget
        forbids it. Otherwise per row: then no row is escalated whose expected gain is not above 0.

        Args:
            outcome: of the pilot.
            router: fitted on the pilot; None where there are no signals.
            budget: of the query.
            rows: of the query.
        """
        known = int(outcome.scored.sum())
        if not known:
            return Decision(
                "off", f"off: none of the {outcome.rows} pilot rows could be scored{_cut(outcome)}"
            )
        low, high = outcome.interval(self.confidence)
        measured = (
            f"{_signed(outcome.mean_gain())} points on {known} pilot rows ({self.confidence:.0%} interval "
            f"{_signed(low)} to {_signed(high)}, {_BASIS[outcome.basis]}){_cut(outcome)}"
        )
        smallest = f"{100 * self.smallest_gain:g}"
        if high < self.smallest_gain:
            return Decision("off", f"off for all rows: gain {measured} is below {smallest}")
        if router is None:
            if (
                low > self.smallest_gain
                and outcome.basis != "difference"
                and self._affordable(outcome, budget, rows)
            ):
                return Decision(
                    "on", f"on for all rows: gain {measured} is above {smallest}; no signals per row"
                )
            return Decision("off", f"off for all rows: gain {measured}, and no signals tell rows apart")
        area = router.quality.auc
        if low > self.smallest_gain and area < NO_SIGNAL_AUC and outcome.basis != "difference":
            if self._affordable(outcome, budget, rows):
                return Decision(
                    "on",
                    f"on for all rows: gain {measured} is above {smallest}, and no signal tells rows apart "
                    f"(AUC {area:.2f} is below {NO_SIGNAL_AUC})",
                )
            return Decision("per_row", f"per row: gain {measured}, but the budget does not reach all rows")
        return Decision("per_row", f"per row: gain {measured}; signals tell rows apart with AUC {area:.2f}")

    @staticmethod
    def _affordable(outcome: PilotOutcome, budget: Budget | None, rows: int | None) -> bool:
        """Whether the costly arm for all rows stays within the budget, by the pilot's mean."""
        if budget is None or not budget.limited:
            return True
        if budget.share is not None and budget.share < 1:
            return False
        count = rows if rows is not None else outcome.rows
        return max(float(outcome.extra_tokens.mean()), 0.0) * count <= budget.tokens(count)


_BASIS: Final = {
    "labels": "against labels",
    "agreement": "by agreement of repeated answers",
    "difference": "at most: rows on which the arms differ",
}


def _signed(gain: float) -> str:
    return f"{100 * gain:+.1f}"


def _cut(outcome: PilotOutcome) -> str:
    cut = outcome.truncated_rows
    return f"; thinking of {cut} rows was cut off, which counts neither way" if cut else ""
