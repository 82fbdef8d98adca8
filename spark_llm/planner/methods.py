"""The methods of the portfolio: each orders the rows of a start, group by group, on the reduced fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from spark_llm.planner.fixed import by_statistics, sort_rows
from spark_llm.planner.greedy import solve_greedy
from spark_llm.planner.tree import solve_tree

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spark_llm.planner.reduce_fields import Reduced


class Start(NamedTuple):
    """Rows in groups that stay together.

    Attributes:
        rows: int32 (n_rows,); source rows.
        starts: int64 (n_groups + 1,); group g is rows[starts[g]:starts[g + 1]].
        slots: int16 (n_rows, n_reduced), or None without sets; see `Candidate.slots`.
    """

    rows: NDArray[np.int32]
    starts: NDArray[np.int64]
    slots: NDArray[np.int16] | None


class Candidate(NamedTuple):
    """A method's answer, over the reduced fields.

    Attributes:
        rows: int32 (n_rows,); source rows in execution order.
        orders: int16 (n_rows, n_reduced); reduced fields in prompt order, those after `fixed` in no order.
        fixed: int16 (n_rows,); how many leading fields matter.
        slots: int16 (n_rows, n_reduced), or None without sets; the reduced field whose cell stands under each
            name.
    """

    rows: NDArray[np.int32]
    orders: NDArray[np.int16]
    fixed: NDArray[np.int16]
    slots: NDArray[np.int16] | None


class Method(Protocol):
    """One way to order rows and fields."""

    @property
    def name(self) -> str:
        """For the report."""
        ...

    def cell_s(self, fields: int) -> float:
        """Expected seconds per cell on one core, for a table of so many reduced fields."""
        ...

    def solve(self, reduced: Reduced, start: Start) -> Candidate:
        """Orders the rows of each group of `start`."""
        ...


@dataclass(frozen=True, slots=True)
class Tree:
    """The adaptive column tree; `trials` fields are tried per group."""

    trials: int

    @property
    def name(self) -> str:
        """For the report."""
        return f"tree, {self.trials} tried"

    def cell_s(self, fields: int) -> float:
        """Expected seconds per cell."""
        return 4e-8 if self.trials == 1 else min(self.trials, fields) / 3 * (2.5e-7 + fields * 7e-9)

    def solve(self, reduced: Reduced, start: Start) -> Candidate:
        """Orders the rows of each group; cells of sets stay where they are."""
        ids, rows, orders, fixed = _memory(reduced, start)
        small = 0 if self.trials == 1 else 4
        solve_tree(
            ids, rows, reduced.weights_tokens, start.starts, reduced.fixes, self.trials, small, orders, fixed
        )
        return Candidate(rows, orders, fixed, start.slots)


@dataclass(frozen=True, slots=True)
class Greedy:
    """The group greedy recursion.

    Attributes:
        weights: "value", a value's own tokens, or "closure", with those of all that it fixes.
        power: exponent of the weights; 2 is the paper's.
        roll: see `solve_greedy`.
    """

    weights: str
    power: float
    roll: float = 0.0

    @property
    def name(self) -> str:
        """For the report."""
        return (
            f"ggr, {self.weights}^{self.power:g}" if self.roll == 0 else f"ggr, completion/size^{self.roll:g}"
        )

    def cell_s(self, fields: int) -> float:
        """Expected seconds per cell."""
        return 2.5e-7 if self.roll == 0 else fields * 9e-8

    def solve(self, reduced: Reduced, start: Start) -> Candidate:
        """Orders the rows of each group; cells of sets move to where they are shared."""
        ids, rows, orders, fixed = _memory(reduced, start)
        base = reduced.closure_tokens if self.weights == "closure" else reduced.weights_tokens
        slots = np.zeros((0, 0), np.int16) if start.slots is None else start.slots.copy()
        solve_greedy(
            ids, rows, reduced.weights_tokens, base**self.power, start.starts, reduced.sets, slots, self.roll,
            orders, fixed,
        )  # fmt: skip
        return Candidate(rows, orders, fixed, None if start.slots is None else slots)


@dataclass(frozen=True, slots=True)
class Fixed:
    """One field order by statistics, rows sorted."""

    @property
    def name(self) -> str:
        """For the report."""
        return "fixed, by statistics"

    def cell_s(self, fields: int) -> float:  # noqa: ARG002  the same for every width
        """Expected seconds per cell."""
        return 1e-7

    def solve(self, reduced: Reduced, start: Start) -> Candidate:
        """Sorts the rows of each group."""
        order = by_statistics(reduced)
        ids = reduced.ids[start.rows]
        group = np.repeat(np.arange(len(start.starts) - 1, dtype=np.int32), np.diff(start.starts))
        places = sort_rows(np.column_stack([group, ids]), [0, *(field + 1 for field in order)])
        rows, fields = ids.shape
        orders = np.broadcast_to(np.array(order, np.int16), (rows, fields))
        slots = None if start.slots is None else start.slots[places]
        return Candidate(start.rows[places], orders, np.full(rows, fields, np.int16), slots)


def _memory(
    reduced: Reduced, start: Start
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int16], NDArray[np.int16]]:
    ids = reduced.ids[start.rows]
    if start.slots is not None:
        ids = np.take_along_axis(ids, start.slots.astype(np.int64), axis=1)
    return ids, start.rows.copy(), np.empty(ids.shape, np.int16), np.empty(len(ids), np.int16)
