"""Acceptance kept apart by call: what copies of a text accept says nothing about labels in the same step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from spark_llm.smartspec.acceptance import Acceptance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from spark_llm.smartspec.acceptance import Chances, Floats
    from spark_llm.smartspec.policy import Ints, StepResult
    from spark_llm.smartspec.priors import Prior

MOST_CALLS: Final = 64
"""Calls that are told apart; further ones share the first one's acceptance."""


class AcceptanceByCall:
    """An `Acceptance` for each call, asked as if it were one.

    Args:
        positions: most draft tokens of a row.
        prior_of: what an earlier run learned about a call, None where there was none.
    """

    def __init__(self, positions: int, prior_of: Callable[[str], Prior | None] = lambda _: None) -> None:
        self._positions, self._prior_of = positions, prior_of
        self._calls: dict[str, int] = {}
        self._each: list[Acceptance] = []
        self._of_slot = np.zeros(0, np.int64)
        self._number("")

    @property
    def common(self) -> Floats:
        """Shape (positions,): as `Acceptance.common`, of the call with the most trials."""
        return max(self._each, key=lambda each: each.trials).common

    def items(self) -> Iterator[tuple[str, Acceptance]]:
        """Each call's name and acceptance."""
        for call, number in self._calls.items():
            yield call, self._each[number]

    def admit(self, slots: Ints, calls: Sequence[str]) -> None:
        """Rows begin to decode, shape (rows,); calls by name."""
        most = int(slots.max(initial=-1)) + 1
        if most > len(self._of_slot):
            grown = np.zeros(max(most, 2 * len(self._of_slot)), np.int64)
            grown[: len(self._of_slot)] = self._of_slot
            self._of_slot = grown
        self._of_slot[slots] = [self._number(call) for call in calls]

    def survival(self, slots: Ints, forced: Ints | None = None) -> Chances:
        """As `Acceptance.survival`."""
        parts = list(self._parts(slots))
        if len(parts) == 1:
            return parts[0][0].survival(slots, forced)
        survival = np.empty((self._positions, len(slots)), np.float32)
        for acceptance, rows in parts:
            survival[:, rows] = acceptance.survival(slots[rows], None if forced is None else forced[rows])
        return survival

    def observe(self, result: StepResult) -> None:
        """As `Acceptance.observe`."""
        for acceptance, rows in self._parts(result.slots):
            acceptance.observe(result if rows is None else result.only(rows))

    def release(self, slots: Ints) -> None:
        """As `Acceptance.release`."""
        for acceptance, rows in self._parts(slots):
            acceptance.release(slots if rows is None else slots[rows])

    def _number(self, call: str) -> int:
        number = self._calls.get(call)
        if number is None:
            if len(self._each) >= MOST_CALLS:
                return 0
            prior = self._prior_of(call)
            number = self._calls[call] = len(self._each)
            self._each.append(
                Acceptance(self._positions)
                if prior is None
                else Acceptance(self._positions, prior.acceptance, prior.trials)
            )
        return number

    def _parts(self, slots: Ints) -> Iterator[tuple[Acceptance, Ints | None]]:
        """Each call's acceptance with the places of its rows, None for all of them."""
        if len(self._each) == 1 or not len(slots) or int(slots.max()) >= len(self._of_slot):
            yield self._each[0], None
            return
        of_row = self._of_slot[slots]
        present = np.unique(of_row)
        for number in present.tolist():
            rows = None if len(present) == 1 else np.flatnonzero(of_row == number)
            yield self._each[number], rows
