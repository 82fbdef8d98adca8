"""The best plan's groups solved again by another method, each group keeping the better of the two.

best plan     │ film 7: 41 rows, tree     │ film 9: 12 rows, tree   │ …
again, greedy │ film 7: fewer tokens: kept │ film 9: more: not kept  │ …
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spark_llm.planner.methods import Candidate, Start
from spark_llm.planner.tail import groups_at

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spark_llm.planner.methods import Method
    from spark_llm.planner.plan import Plan, Problem


def regrouped(problem: Problem, best: Plan, depth: int, method: Method) -> Plan:
    """Returns `best`, or a plan with fewer tokens to compute.

    Args:
        problem: the table.
        best: the plan to improve.
        depth: leading cells, beyond those of the start, that the rows of a group share; 0 solves the start
            again.
        method: what to try.
    """
    old = best.candidate
    if depth == 0:
        starts = problem.start.starts
        other = problem.plan(method, problem.start)
        if len(starts) == 2:
            return other if other.compute_tokens < best.compute_tokens else best
    else:
        starts = groups_at(problem.cells(old), best.full, len(problem.reduced.leading) + depth)
        other = problem.plan(method, Start(old.rows, starts, old.slots))
    # what a group's first request shares depends on the group before it
    gained = np.add.reduceat(other.shared - best.shared, starts[:-1])
    gained -= (other.shared - best.shared)[starts[:-1]]
    better = np.repeat(gained > 0, np.diff(starts))
    if not better.any():
        return best
    new = other.candidate
    slots = None
    if old.slots is not None and new.slots is not None:
        slots = _mixed(better, new.slots, old.slots)
    mixed = problem.counted(
        best.method if method.name in best.method else f"{best.method} + {method.name}",
        Candidate(
            _mixed(better, new.rows, old.rows),
            _mixed(better, new.orders, old.orders),
            _mixed(better, new.fixed, old.fixed),
            slots,
        ),
        _mixed(better, other.full, best.full),
        _mixed(better, other.lead, best.lead),
    )
    return mixed if mixed.compute_tokens < best.compute_tokens else best


def _mixed(better: NDArray[np.bool_], new: NDArray[Any], old: NDArray[Any]) -> NDArray[Any]:
    mixed = old.copy()
    mixed[better] = new[better]
    return mixed
