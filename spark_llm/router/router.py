"""Expected gain and expected extra tokens of each row, learned from the pilot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from spark_llm.router.budget import Budget
    from spark_llm.router.signals import Signals

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Expected:
    """What a router expects of rows.

    Attributes:
        gain: between -1 and 1, shape (rows,).
        extra_tokens: shape (rows,).
    """

    gain: Floats
    extra_tokens: Floats


@dataclass(frozen=True)
class Router:
    """Fitted to a query shape. Interface; the model follows."""

    shape: str

    @classmethod
    def fit(
        cls, signals: Signals, gains: Floats, extra_tokens: Floats, *, shape: str = "", table: Signals | None = None
    ) -> Router:
        """Fits to a pilot.

        Args:
            signals: of the pilot's rows.
            gains: see `PilotOutcome.gains`; rows with NaN teach tokens only.
            extra_tokens: see `PilotOutcome.extra_tokens`.
            shape: fingerprint of the query's shape.
            table: signals of rows without a pilot, where known: texts learn from them what cheap models agree on.
        """
        raise NotImplementedError

    def expected(self, signals: Signals) -> Expected:
        """Expected gain and tokens of rows with signals."""
        raise NotImplementedError

    def choose(self, signals: Signals, budget: Budget | None = None) -> npt.NDArray[np.bool_]:
        """Rows that get the costly arm, shape (rows,), where all rows of the query are known."""
        raise NotImplementedError

    def to_json(self) -> str:
        """As JSON."""
        raise NotImplementedError

    @classmethod
    def from_json(cls, text: str) -> Router:
        """From `to_json`.

        Raises:
            ValueError: not such a text, or of another version.
        """
        raise NotImplementedError
