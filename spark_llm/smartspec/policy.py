"""What a policy sees of a step and what it answers; shared by the simulator, the policies and the adapter."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Step:
    """A step that is about to be scheduled.

    Attributes:
        slots: shape (decoding rows,): a small number that stays with a row while it decodes and is given to
            another afterwards; policies keep their state in arrays indexed by it.
        drafts: shape (decoding rows,): most draft tokens that can be had for each row.
        forced: shape (decoding rows,): how many of them, from the first on, a grammar leaves no choice about.
        kv_tokens: tokens that the decoding rows read.
        prefill_tokens: prompt tokens that wait to be computed, of admitted and waiting rows.
        prefill_rows: rows these belong to and that could be in this step.
        chunk_tokens: most tokens of a step.
    """

    slots: Ints
    drafts: Ints
    forced: Ints
    kv_tokens: int
    prefill_tokens: int
    prefill_rows: int
    chunk_tokens: int


@dataclass(frozen=True, slots=True)
class StepResult:
    """A step that was computed.

    Attributes:
        slots: shape (decoding rows,), as in `Step`.
        drafted: shape (decoding rows,): draft tokens that were verified.
        accepted: shape (decoding rows,): the leading ones that were right; a row gained 1 more than these.
        forced: shape (decoding rows,): leading draft tokens that a grammar forced; no sign of acceptance.
        kv_tokens: tokens that were read, prefill rows included.
        tokens: tokens that were computed: prefill, one per decoding row, drafts.
        prefill_tokens: prompt tokens among them.
        sequences: rows in the step.
        step_s: seconds it took, drafting left out.
        draft_s: seconds that drafting took beside it.
    """

    slots: Ints
    drafted: Ints
    accepted: Ints
    forced: Ints
    kv_tokens: int
    tokens: int
    prefill_tokens: int
    sequences: int
    step_s: float
    draft_s: float

    def only(self, rows: Ints) -> StepResult:
        """The same step with some of its decoding rows, given by place."""
        return replace(
            self,
            slots=self.slots[rows],
            drafted=self.drafted[rows],
            accepted=self.accepted[rows],
            forced=self.forced[rows],
        )


class Policy(Protocol):
    """Chooses how many tokens to draft for each row of each step."""

    def draft_lengths(self, step: Step) -> Ints:
        """Shape (decoding rows,): k of each row, between 0 and `step.drafts`."""

    def observe(self, result: StepResult) -> None:
        """Learns from a step; called once after each, in order."""

    def release(self, slots: Ints) -> None:
        """These rows have finished; their slots may come back for others."""
