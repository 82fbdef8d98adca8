"""From window to window: what the engine used last is asked about first.

    window 1   A A A B B C C C      groups by their leading cell
    window 2   A A B C C D D        as planned
               C C B A A D D        as sent: most recently used first, then what is new

An engine with little memory has dropped A when window 1 ends with C, and would drop C before window 2 came
to it. Within the first group the rows that share most with the last prompt come first, so a sorted partition
that is cut into windows loses nothing at the cuts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spark_llm.worker.row_plan import INSTRUCTION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spark_llm.worker.questions import Question
    from spark_llm.worker.row_plan import Cell, RowPlan


class Continuity:
    """Arranges the windows of one task, one after the other.

    It remembers the last prompt's cells and a hash per group of the last window.
    """

    def __init__(self) -> None:
        self._last: list[Cell] = []
        self._used: dict[int, int] = {}

    def arrange(self, plan: RowPlan, questions: Sequence[Question]) -> tuple[RowPlan, bool]:
        """Moves groups that the window before had to the front.

        Args:
            plan: depth-first, so that rows with equal leading cells stand together.
            questions: what the plan is about.

        Returns:
            The plan, and whether its first group is the one that the window before ended with.
        """
        keys = _leading(plan, questions)
        used = np.array([self._used.get(key, -1) for key in keys])
        continues = bool(self._used) and int(used.max()) == len(self._used) - 1
        if used.max() >= 0:
            shared = np.zeros(len(keys), np.int64)
            if continues:
                for position in np.flatnonzero(used == used.max()).tolist():
                    shared[position] = _common(plan.cells(position, questions), self._last)
            moved = np.lexsort((-shared, -used))
            plan, keys = plan.take(moved), [keys[position] for position in moved.tolist()]
        self._last = plan.cells(len(keys) - 1, questions)
        # Later entries are later uses: what comes again moves to the end.
        self._used = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        return plan, continues


def _leading(plan: RowPlan, questions: Sequence[Question]) -> list[int]:
    """A hash of instruction and first cell per position."""
    leads = [order[0] if order else INSTRUCTION for order in plan.orders]
    keys = []
    for position, (row, index) in enumerate(zip(plan.rows.tolist(), plan.order_index.tolist(), strict=True)):
        question, place = questions[row], leads[index]
        if place == INSTRUCTION:
            keys.append(hash(question.instruction))
            continue
        source = place if plan.sources is None else int(plan.sources[position, place])
        keys.append(hash((question.instruction, place, question.texts[source])))
    return keys


def _common(one: Sequence[Cell], other: Sequence[Cell]) -> int:
    count = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            break
        count += 1
    return count
