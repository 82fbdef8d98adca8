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
        self, outcome: PilotOutcome, router: Router | None = None, budget: Budget | None = None, rows: int | None = None
    ) -> Decision:
        """Decides a query.

        Off, where the upper end of the gain's interval is below `smallest_gain`. On, where the lower end is above
        it and no signal tells rows apart (AUC below 0.55 in cross-validation), unless the budget forbids it.
        Otherwise per row.

        Args:
            outcome: of the pilot.
            router: fitted on the pilot; None where there are no signals.
            budget: of the query.
            rows: of the query.
        """
        raise NotImplementedError
