"""The order of a window's questions: rows, and the fields of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spark_llm.worker.questions import Question

Order = tuple[int, ...]
Cell = tuple[int, str]

# The instruction is the front of a prompt, as if it were a field; -1 is no position of one.
INSTRUCTION: Final = -1


@dataclass(frozen=True, slots=True)
class RowPlan:
    """Questions in planned order.

    Attributes:
        rows: question per position of the plan, a permutation, shape (n,).
        orders: distinct field orders, positions into the field names.
        order_index: which of ``orders`` a position has, shape (n,).
        sources: whose value each field gets, shape (n, fields); None: its own.
        groups: prefix group per position, equal ids side by side, counted from 0, shape (n,).
    """

    rows: NDArray[np.int64]
    orders: list[Order]
    order_index: NDArray[np.int64]
    sources: NDArray[np.int64] | None
    groups: NDArray[np.int64]

    def cells(self, position: int, questions: Sequence[Question]) -> list[Cell]:
        """Returns what leads the prompt at ``position``: instruction first, then field and text."""
        question = questions[self.rows[position]]
        texts, sources = question.texts, None if self.sources is None else self.sources[position]
        order = self.orders[self.order_index[position]]
        moved = texts if sources is None else [texts[source] for source in sources]
        return [(INSTRUCTION, question.instruction), *((place, moved[place]) for place in order)]

    def take(self, positions: NDArray[np.int64]) -> RowPlan:
        """Returns the plan with its positions in another order."""
        sources = None if self.sources is None else self.sources[positions]
        return RowPlan(
            self.rows[positions], self.orders, self.order_index[positions], sources, self.groups[positions]
        )


def as_they_come(count: int, order: Order) -> RowPlan:
    """Returns the plan that changes no place; every question is a group of its own."""
    place = np.arange(count)
    return RowPlan(place, [order], np.zeros(count, np.int64), None, place)


def sorted_by(questions: Sequence[Question], order: Order) -> RowPlan:
    """Returns the plan of one field order, in which questions with equal leading cells stand together.

    Equal cells are what counts, not their size: groups come in the order of their first question.
    """
    count = len(questions)
    columns = [[question.instruction for question in questions]]
    columns += [[question.texts[place] for question in questions] for place in order]
    codes = [pa.array(column, pa.string()).dictionary_encode().indices.to_numpy() for column in columns]
    rows = np.lexsort(codes[::-1])
    # Prompts of one instruction share it anyway; the first field then tells the groups.
    key = np.stack(codes[:2])[:, rows]
    starts = np.ones(count, bool)
    starts[1:] = (key[:, 1:] != key[:, :-1]).any(axis=0)
    return RowPlan(rows, [order], np.zeros(count, np.int64), None, np.cumsum(starts) - 1)
