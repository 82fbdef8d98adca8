"""What the best policy would do if it knew how likely each row's drafts are right; for the simulator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spark_llm.smartspec.acceptance import Acceptance
from spark_llm.smartspec.value import Value

if TYPE_CHECKING:
    from collections.abc import Callable

    from spark_llm.costmodel.step_time import DraftTime, StepTime
    from spark_llm.smartspec.acceptance import Floats
    from spark_llm.smartspec.policy import Ints, StepResult


class Oracle(Value):
    """`Value` with the true acceptance, and without a switch or a bias.

    Args:
        time: of a step, the simulator's own.
        draft: what drafting adds.
        kmax: most draft tokens of a row.
        truth: slots -> shape (rows,), true acceptance of each row now.
    """

    must_win = may_stay = 1.0

    def __init__(self, time: StepTime, draft: DraftTime, kmax: int, truth: Callable[[Ints], Floats]) -> None:
        super().__init__(time, draft, kmax)
        self.acceptance = _True(kmax, truth)

    def observe(self, result: StepResult) -> None:
        """Has nothing to learn."""


class _True(Acceptance):
    def __init__(self, positions: int, truth: Callable[[Ints], Floats]) -> None:
        super().__init__(positions)
        self._truth = truth

    def survival(self, slots: Ints) -> Floats:
        """Shape (positions, rows): true survival."""
        return np.cumprod(np.tile(self._truth(slots), (self.positions, 1)), axis=0)

    def after_forced(self, slots: Ints, forced: Ints) -> Floats:
        """Shape (positions, rows): true survival behind forced tokens."""
        past = np.maximum(np.arange(1, self.positions + 1)[:, None] - forced, 0)
        return np.power(self._truth(slots), past)
