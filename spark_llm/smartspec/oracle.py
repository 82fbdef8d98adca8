"""What the policy would do if it knew how likely each row's drafts are right; for the simulator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spark_llm.smartspec.acceptance import Acceptance, Chances
from spark_llm.smartspec.value import Value

if TYPE_CHECKING:
    from collections.abc import Callable

    from spark_llm.costmodel.step_time import DraftTime, StepTime
    from spark_llm.smartspec.policy import Ints, StepResult


class Oracle(Value):
    """`Value` with the true acceptance, and without bias or switch.

    Args:
        time: of a step, the simulator's own.
        draft: what drafting adds.
        kmax: most draft tokens of a row.
        truth: returns shape (decoding rows, at least kmax): how likely the first 1, 2, … drafts of each row
            are right in the step whose draft lengths are being chosen.
    """

    must_win = may_stay = 1.0

    def __init__(self, time: StepTime, draft: DraftTime, kmax: int, truth: Callable[[], Chances]) -> None:
        super().__init__(time, draft, kmax)
        self.acceptance = _True(kmax, truth)

    def observe(self, result: StepResult) -> None:
        """Learns how long rows are, nothing else."""
        self.turnover.observe(result)


class _True(Acceptance):
    def __init__(self, positions: int, truth: Callable[[], Chances]) -> None:
        super().__init__(positions)
        self._truth = truth

    def survival(self, slots: Ints, forced: Ints | None = None) -> Chances:  # noqa: ARG002  the truth knows
        """Shape (positions, rows): true survival, forced tokens included."""
        return np.ascontiguousarray(self._truth().T[: self.positions])
