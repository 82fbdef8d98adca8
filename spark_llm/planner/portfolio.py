"""Several methods, one objective: run those that fit, keep the plan that leaves the fewest tokens to compute.

    original   rows and fields as they come
    fixed      one field order for all rows, by statistics, rows sorted
    tree       the adaptive column tree (`tree`)
    ggr        the published group greedy recursion, exact (`greedy`)
    default    all of these that are cheap for the table's size, the tree and the greedy in several variants
    thorough   default, then slower variants as long as their estimated time fits the budget

No method wins on every table: trees are best on joined tables, the greedy on flags, claims and retrieval.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from spark_llm.planner import fixed as fixed_order
from spark_llm.planner.greedy import solve_greedy
from spark_llm.planner.tree import solve_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from spark_llm.planner.reduce_fields import Reduced

DEFAULT_BUDGET_S: Final = 5.0
_CELLS_FOR_TRIALS: Final = 1_000_000
_FIELDS_FOR_TRIALS: Final = 20
_ROWS_FOR_THREADS: Final = 200_000


class Candidate(NamedTuple):
    """A method's answer, over the reduced fields.

    Attributes:
        method: its name, for the report.
        rows: int32 (n_rows,); source rows in execution order.
        orders: int16 (n_rows, n_reduced); reduced fields in prompt order, those after `fixed` in no order.
        fixed: int16 (n_rows,); how many leading fields matter.
        slots: int16 (n_rows, n_reduced), or None without sets.
    """

    method: str
    rows: NDArray[np.int32]
    orders: NDArray[np.int16]
    fixed: NDArray[np.int16]
    slots: NDArray[np.int16] | None


class Method(NamedTuple):
    """A method and the seconds it is expected to take on one core."""

    name: str
    expected_s: float
    solve: Callable[[], Candidate]


class Problem:
    """A reduced table whose rows are already grouped by the pinned first fields."""

    def __init__(self, reduced: Reduced, start_rows: NDArray[np.int32], starts: NDArray[np.int64]) -> None:
        self._reduced, self._start_rows, self._starts = reduced, start_rows, starts
        self._pinned = np.zeros(0, np.int16)
        self.cells = reduced.ids.size

    def methods(self, policy: str, budget_s: float) -> list[Method]:
        """Returns the methods of a policy that apply here, in the order in which ties are decided."""
        if policy == "fixed":
            return [self._fixed("statistics", fixed_order.by_statistics)]
        if policy == "tree":
            return [self._tree(self._trials())]
        if policy == "ggr":
            return [self._greedy("value", self._reduced.closure_tokens**2)]
        chosen = self._cheap()
        if policy == "thorough":
            left = budget_s - sum(method.expected_s for method in chosen)
            for method in self._slow():
                if method.expected_s <= left:
                    chosen.append(method)
                    left -= method.expected_s
        return chosen

    def _trials(self) -> int:
        small = self.cells <= _CELLS_FOR_TRIALS and self._reduced.ids.shape[1] <= _FIELDS_FOR_TRIALS
        return 3 if small else 1

    def _cheap(self) -> list[Method]:
        weights, closure = self._reduced.weights_tokens, self._reduced.closure_tokens
        if self._reduced.has_sets:
            return [self._greedy(f"value^{power}", weights**power) for power in (3.0, 2.0)]
        methods = [self._tree(1), self._greedy("value", weights**2)]
        if not np.array_equal(weights, closure):
            methods.append(self._greedy("closure", closure**2))
        if self._trials() > 1:
            methods.append(self._tree(3))
        methods.append(self._fixed("statistics", fixed_order.by_statistics))
        if self.cells <= _CELLS_FOR_TRIALS:
            methods.append(self._fixed("gain", fixed_order.by_gain))
        return methods

    def _slow(self) -> list[Method]:
        weights = self._reduced.weights_tokens
        methods = [self._greedy(f"roll^{roll}", weights, roll) for roll in (0.85, 0.9, 0.8)]
        if self._reduced.has_sets:
            return methods
        return [self._greedy("value^1", weights), *methods, self._tree(3), self._tree(100)]

    def _tree(self, trials: int) -> Method:
        def solve() -> Candidate:
            ids, rows, orders, fixed = self._memory()
            solve_tree(
                ids, rows, self._reduced.weights_tokens, self._starts, self._pinned, trials,
                0 if trials == 1 else 4, orders, fixed,
            )  # fmt: skip
            return Candidate(f"tree, {trials} tried", rows, orders, fixed, None)

        per_cell_s = 4e-8 if trials == 1 else 1.5e-7 * min(trials, self._reduced.ids.shape[1])
        return Method(f"tree {trials}", self.cells * per_cell_s, solve)

    def _greedy(self, name: str, scores: NDArray[np.float64], roll: float = 0.0) -> Method:
        reduced = self._reduced

        def solve() -> Candidate:
            ids, rows, orders, fixed = self._memory()
            fields = ids.shape[1]
            slots = (
                np.tile(np.arange(fields, dtype=np.int16), (len(rows), 1))
                if reduced.has_sets
                else np.zeros((0, 0), np.int16)
            )
            solve_greedy(
                ids, rows, reduced.weights_tokens, scores, self._starts, self._pinned, reduced.sets, slots,
                roll, orders, fixed,
            )  # fmt: skip
            return Candidate(f"ggr, {name}", rows, orders, fixed, slots if reduced.has_sets else None)

        per_cell_s = 2e-7 if roll == 0 else 4e-7 * reduced.ids.shape[1]
        return Method(name, self.cells * per_cell_s, solve)

    def _fixed(self, name: str, order_of: Callable[[Reduced], Sequence[int]]) -> Method:
        def solve() -> Candidate:
            order = list(order_of(self._reduced))
            count, fields = self._reduced.ids.shape
            group = np.empty(count, np.int32)
            group[self._start_rows] = np.repeat(
                np.arange(len(self._starts) - 1, dtype=np.int32), np.diff(self._starts)
            )
            columns = np.column_stack([group, self._reduced.ids])
            rows = fixed_order.sort_rows(columns, [0, *(field + 1 for field in order)])
            orders = np.tile(np.array(order, np.int16), (count, 1))
            return Candidate(f"fixed, {name}", rows, orders, np.full(count, fields, np.int16), None)

        return Method(name, self.cells * 2e-7, solve)

    def _memory(self) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int16], NDArray[np.int16]]:
        ids = self._reduced.ids[self._start_rows]
        return ids, self._start_rows.copy(), np.empty(ids.shape, np.int16), np.empty(len(ids), np.int16)


def run_methods(methods: Sequence[Method], rows: int) -> list[Candidate]:
    """Returns the candidates in the order of `methods`; the kernels of large tables run side by side."""
    if rows < _ROWS_FOR_THREADS or len(methods) == 1:
        return [method.solve() for method in methods]
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda method: method.solve(), methods))
