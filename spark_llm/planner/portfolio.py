"""Several methods, one objective: run those that fit, keep the plan that leaves the fewest tokens to compute.

    original   rows and fields as they come
    fixed      one field order for all rows, by statistics, rows sorted
    tree       the adaptive column tree (`tree`)
    ggr        the published group greedy recursion, exact (`greedy`)
    default    the cheap ones, the best of them; then its groups are solved again by other methods (`regroup`)
    thorough   the same with slower methods, while their expected time fits the budget, and single rows moved

No method wins on every table, nor on every group of one: trees are best on joined tables, the greedy on
flags, claims and retrieval. What a method is expected to take is computed from the table's size, not
measured, so that the choice of methods, and with it the plan, is the same on every machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from spark_llm.planner.methods import Fixed, Greedy, Method, Tree
from spark_llm.planner.regroup import regrouped
from spark_llm.planner.reinsert import reinserted

if TYPE_CHECKING:
    from spark_llm.planner.plan import Plan, Problem

DEFAULT_BUDGET_S: Final = 5.0
# In larger tables short values that occur very often outscore the long ones that matter.
_CELLS_FOR_GREEDY: Final = 5_000_000
# What default may add to the cheap methods, by their own expected time and at most.
_EXTRA_SHARE: Final = 1.4
_MOST_EXTRA_S: Final = 0.1


def solve(problem: Problem, policy: str, budget_s: float | None) -> Plan:
    """Returns the best plan that a policy finds."""
    single: dict[str, Method] = {
        "fixed": Fixed(),
        "tree": Tree(3 if problem.expected_s(Tree(3)) < 1.0 else 1),
        "ggr": Greedy("closure", 2.0),
    }
    if policy in single:
        return problem.sorted(problem.plan(single[policy], problem.start))
    cheap = _cheap(problem)
    best = min(
        (problem.plan(method, problem.start) for method in cheap), key=lambda plan: plan.compute_tokens
    )
    spent_s = sum(problem.expected_s(method) for method in cheap)
    usual = _improved(problem, best, min(spent_s * _EXTRA_SHARE, _MOST_EXTRA_S), thorough=False)
    if policy != "thorough":
        return problem.sorted(usual)
    better = _improved(problem, usual, DEFAULT_BUDGET_S if budget_s is None else budget_s, thorough=True)
    # between whole cells, plans differ in the text that neighbours begin with
    return min(problem.sorted(usual), problem.sorted(better), key=problem.tokens_with_text)


def _cheap(problem: Problem) -> list[Method]:
    if problem.reduced.has_sets:
        return [Greedy("value", 3.0), Greedy("value", 2.0)]
    methods: list[Method] = [Tree(1)]
    if problem.reduced.ids.size <= _CELLS_FOR_GREEDY:
        methods.append(Greedy("value", 2.0))
        if problem.has_dependencies:
            methods.append(Greedy("closure", 2.0))
        methods.append(Fixed())
    return methods


def _improved(problem: Problem, best: Plan, budget_s: float, *, thorough: bool) -> Plan:
    """Solves groups of the best plan again, coarse groups first, as far as the budget goes."""
    left, tried_deeper = budget_s, set[int]()
    if thorough:
        best = reinserted(problem, best)
    for depth, method in _schedule(problem, thorough=thorough):
        cost = problem.expected_s(method)
        # the tree with more trials sees all that the one without sees
        if cost > left or (method == Tree(1) and depth in tried_deeper):
            continue
        if method == Tree(3):
            tried_deeper.add(depth)
        left -= cost
        better = regrouped(problem, best, depth, method)
        if depth == 0 and better is not best:
            tried_deeper.clear()  # other groups than those that were tried
        best = better
    return reinserted(problem, best) if thorough else best


def _schedule(problem: Problem, *, thorough: bool) -> list[tuple[int, Method]]:
    """Depth of the groups (leading cells that all their rows share) and the method to try on each."""
    if problem.reduced.has_sets:
        roll: list[Method] = [Greedy("value", 1.0, 0.85), Greedy("value", 1.0, 0.7)]
        steps: list[tuple[int, Method]] = [(0, method) for method in roll]
        return [*steps, *((1, method) for method in (*roll, Greedy("value", 2.0)))]
    value, closure, roll_85 = Greedy("value", 2.0), Greedy("closure", 2.0), Greedy("value", 1.0, 0.85)
    first: list[tuple[int, Method]] = [
        (1, Tree(3)),
        (0, roll_85),
        (1, Tree(1)),
        (1, value),
        (2, Tree(3)),
        (2, closure),
    ]
    if not thorough:
        return first
    others: tuple[Method, ...] = (Tree(3), Tree(100), value, closure, Greedy("value", 1.0), roll_85)
    rolls: list[tuple[int, Method]] = [(0, Greedy("value", 1.0, power)) for power in (0.9, 0.8)]
    deep = [(depth, method) for depth in (1, 2, 3, 4, 6) for method in others]
    return [(0, roll_85), *rolls, (0, Tree(3)), *deep, *deep]
