"""What speculation did in the last second, for the page of metrics and the strips of the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spark_llm.engine.vitals import VitalsWriter
    from spark_llm.smartspec.policy import StepResult


class SpeculationVitals:
    """Sums steps up until the writer is due.

    Args:
        writer: takes the figures; None where nobody reads them.
    """

    def __init__(self, writer: VitalsWriter | None) -> None:
        self._writer = writer
        self._reset()

    def _reset(self) -> None:
        self._steps = self._rows = self._drafted = self._accepted = 0
        self._step_s = self._decision_s = 0.0

    def add(self, result: StepResult, decision_s: float) -> None:
        """Counts a step; `decision_s` is what choosing its draft lengths took."""
        if self._writer is None:
            return
        self._steps += 1
        self._rows += len(result.slots)
        self._drafted += int(result.drafted.sum())
        self._accepted += int(result.accepted.sum())
        self._step_s += result.step_s + result.draft_s
        self._decision_s += decision_s
        if self._writer.due and self._rows:
            self._writer.write(
                {
                    "speculation_draft_length": self._drafted / self._rows,
                    "speculation_acceptance_rate": self._accepted / max(self._drafted, 1),
                    "speculation_goodput": (self._rows + self._accepted) / max(self._step_s, 1e-9),
                    "speculation_decision_seconds": self._decision_s / self._steps,
                }
            )
            self._reset()
