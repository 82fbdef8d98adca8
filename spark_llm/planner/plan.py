"""A plan over all fields with what it costs, and the problem whose plans can be compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spark_llm.planner.methods import Candidate, Method, Start
from spark_llm.planner.score import shared_tokens
from spark_llm.planner.siblings import sorted_siblings
from spark_llm.planner.tail import full_orders

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spark_llm.planner.encode import Encoded
    from spark_llm.planner.reduce_fields import Reduced


@dataclass(frozen=True, slots=True)
class Plan:
    """A candidate with its orders of all fields and its cost.

    Attributes:
        method: whose it is, for the report.
        candidate: over the reduced fields.
        full: int16 (n_rows, n_fields); fields in prompt order.
        lead: int16 (n_rows,); how many of them lead, see `tail`.
        shared: float64 (n_rows,); tokens that each request shares with the one before.
        prompt_tokens: tokens of all prompts.
    """

    method: str
    candidate: Candidate
    full: NDArray[np.int16]
    lead: NDArray[np.int16]
    shared: NDArray[np.float64]
    prompt_tokens: int

    @property
    def compute_tokens(self) -> int:
        """Prompt tokens left to compute."""
        return self.prompt_tokens - round(float(self.shared.sum()))


class Problem:
    """A table to order.

    Args:
        encoded: the whole table.
        reduced: the part that methods order.
        rank: fields by their worth after the last shared cell, see `tail.tail_rank`.
        start: rows grouped by the fields pinned to the front.
        instruction_tokens: tokens before the first cell.
        block_tokens: tokens of a block that the engine shares.
    """

    def __init__(
        self,
        encoded: Encoded,
        reduced: Reduced,
        rank: NDArray[np.int16],
        start: Start,
        instruction_tokens: int,
        block_tokens: int,
    ) -> None:
        self.encoded, self.reduced, self.start = encoded, reduced, start
        self._rank, self._instruction_tokens, self._block_tokens = rank, instruction_tokens, block_tokens
        self._prompts = encoded.row_tokens + instruction_tokens
        self._prompt_tokens = round(float(self._prompts.sum()))

    @property
    def rows(self) -> int:
        """Rows of the table."""
        return len(self.encoded.ids)

    @property
    def has_dependencies(self) -> bool:
        """Does a value fix another field's, so that closure weights say more than its own?"""
        return not np.array_equal(self.reduced.weights_tokens, self.reduced.closure_tokens)

    def expected_s(self, method: Method) -> float:
        """Seconds that a method is expected to take on one core."""
        rows, fields = self.reduced.ids.shape
        return float(rows * fields) * method.cell_s(fields)

    def plan(self, method: Method, start: Start) -> Plan:
        """Runs a method on the groups of `start`."""
        return self.finish(method.name, method.solve(self.reduced, start))

    def finish(self, name: str, candidate: Candidate) -> Plan:
        """Completes a candidate and counts what it costs."""
        full, lead = full_orders(self.reduced, candidate.orders, candidate.fixed, self._rank)
        return self.counted(name, candidate, full, lead)

    def counted(
        self, name: str, candidate: Candidate, full: NDArray[np.int16], lead: NDArray[np.int16]
    ) -> Plan:
        """Counts what a candidate with its orders of all fields costs."""
        shared = self._shared(candidate.rows, full, self.full_slots(candidate), with_text=False)
        return Plan(name, candidate, full, lead, shared, self._prompt_tokens)

    def sorted(self, plan: Plan) -> Plan:
        """Returns the same plan; groups beside each other, and rows inside a group, go by their text."""
        old = plan.candidate
        places = sorted_siblings(self.cells(old), plan.full, plan.lead, self.encoded.sort_keys)
        slots = None if old.slots is None else old.slots[places]
        moved = Candidate(old.rows[places], old.orders[places], old.fixed[places], slots)
        return self.counted(plan.method, moved, plan.full[places], plan.lead[places])

    def tokens_with_text(self, plan: Plan) -> float:
        """Prompt tokens left to compute, the text that unequal cells have in common counted as shared."""
        rows, full, slots = plan.candidate.rows, plan.full, self.full_slots(plan.candidate)
        return self._prompt_tokens - float(self._shared(rows, full, slots, with_text=True).sum())

    def _shared(
        self,
        rows: NDArray[np.int32],
        full: NDArray[np.int16],
        slots: NDArray[np.int16] | None,
        *,
        with_text: bool,
    ) -> NDArray[np.float64]:
        return shared_tokens(
            self.encoded, rows, full, slots, self._prompts, self._instruction_tokens, self._block_tokens,
            with_text=with_text,
        )  # fmt: skip

    def full_slots(self, candidate: Candidate) -> NDArray[np.int16] | None:
        """`RowOrder.slots` of a candidate."""
        if candidate.slots is None:
            return None
        members = np.array([group[0] for group in self.reduced.members], np.int16)
        fields = self.encoded.ids.shape[1]
        slots = np.tile(np.arange(fields, dtype=np.int16), (len(candidate.rows), 1))
        for nth, place in enumerate(members):
            if self.reduced.sets[nth] >= 0:
                slots[:, place] = members[candidate.slots[:, nth]]
        return slots

    def cells(self, candidate: Candidate) -> NDArray[np.int32]:
        """Ids in execution order, under the names the model sees; int32 (n_rows, n_fields)."""
        cells = self.encoded.ids[candidate.rows]
        slots = self.full_slots(candidate)
        return cells if slots is None else np.take_along_axis(cells, slots.astype(np.int64), axis=1)
