"""Rows taken out of the plan and put back where they share most.

The plan is a trie: a node per (leading cells, next cell), and what is left to compute is the tokens of its
nodes. One row at a time leaves the trie, and goes back along the path on which other rows already have most
of its tokens; the rest of its cells follow, those with the most company first, so that later rows may find
them. The row's old path is among the candidates, so the trie never grows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from spark_llm.planner.kernel import kernel
from spark_llm.planner.methods import Candidate
from spark_llm.planner.siblings import sorted_siblings

if TYPE_CHECKING:
    from spark_llm.planner.plan import Plan, Problem

_PASSES: Final = 8
_MOST_VISITS: Final = 4096
_MOST_CELLS: Final = 2_000_000
_EMPTY: Final = -1


def reinserted(problem: Problem, best: Plan) -> Plan:
    """Returns `best`, or a plan with fewer tokens to compute.

    Not for sets, whose cells have no place of their own, and not where fields are pinned to the front, whose
    groups rows do not leave.
    """
    reduced, old = problem.reduced, best.candidate
    if old.slots is not None or len(problem.start.starts) > 2 or not 0 < reduced.ids.size <= _MOST_CELLS:
        return best
    ids = reduced.ids[old.rows]
    company = np.bincount(reduced.ids.reshape(-1), minlength=len(reduced.weights_tokens)).astype(np.float64)
    orders, fixed = _reinsert(
        ids,
        reduced.weights_tokens,
        company * reduced.weights_tokens,
        old.orders,
        old.fixed,
        _PASSES,
        _MOST_VISITS,
    )
    places = sorted_siblings(ids, orders, fixed, problem.encoded.sort_keys)
    name = f"{best.method} + rows moved"
    moved = problem.finish(name, Candidate(old.rows[places], orders[places], fixed[places], None))
    return moved if moved.compute_tokens < best.compute_tokens else best


@kernel
def _reinsert(
    ids: Any, weights: Any, worth: Any, old_orders: Any, old_fixed: Any, passes: Any, most: Any
) -> Any:
    count, fields = ids.shape
    size = 1
    while size < 4 * count * fields:
        size *= 2
    # a table of nodes with open addressing: (parent's slot, id) -> rows below, a bit per child's field
    parents, values = np.full(size, _EMPTY, np.int32), np.full(size, _EMPTY, np.int32)
    rows_below, words = np.zeros(size + 1, np.int32), (fields + 63) // 64
    child_fields = np.zeros((size + 1, words), np.uint64)
    table = (parents, values, rows_below, child_fields)
    root, nodes = size, 0
    orders, fixed = old_orders.copy(), old_fixed.copy()
    rest = np.empty(fields, np.float64)
    for row in range(count):
        _follow(orders[row], fixed[row], ids[row], worth, rest)
        nodes += _insert(orders[row], ids[row], table, root)
    best_path, path = np.empty(fields, np.int16), np.empty(fields, np.int16)
    used = np.empty(fields, np.bool_)
    for _ in range(passes):
        gained = 0.0
        if nodes > size - size // 4:
            break  # the table keeps the nodes of paths that are no longer used
        for row in range(count):
            before = _remove(orders[row], ids[row], weights, table, root)
            if before < 0.0:
                continue
            length, after = _best_path(ids[row], weights, table, root, most, path, best_path, used)
            if after > before + 0.5:
                gained += after - before
                orders[row, :length] = best_path[:length]
                write = length
                used[:] = False
                for nth in range(length):
                    used[best_path[nth]] = True
                for field in range(fields):
                    if not used[field]:
                        orders[row, write] = field
                        write += 1
                _follow(orders[row], length, ids[row], worth, rest)
            nodes += _insert(orders[row], ids[row], table, root)
        if gained <= 0.0:
            break
    _cut(orders, fixed, ids, table, root)
    return orders, fixed


@kernel
def _cut(orders: Any, fixed: Any, ids: Any, table: Any, root: Any) -> None:
    """Says how far each row's path is shared; one more field where groups beside it go on with that."""
    rows_below = table[2]
    count, fields = ids.shape
    beside = np.full(len(rows_below), -1, np.int16)
    ends = np.empty(count, np.int64)
    for row in range(count):
        node, nth = root, 0
        while nth < fields:
            at = _slot(node, ids[row, orders[row, nth]], table)
            if rows_below[at] < 2:
                break
            beside[node] = orders[row, nth]
            node = at
            nth += 1
        fixed[row], ends[row] = nth, node
    for row in range(count):
        nth, field = fixed[row], beside[ends[row]]
        if nth == fields or field < 0:
            continue
        to = nth
        while orders[row, to] != field:
            to += 1
        orders[row, to] = orders[row, nth]
        orders[row, nth] = field
        fixed[row] = nth + 1


@kernel
def _follow(order: Any, lead: Any, cells: Any, worth: Any, rest: Any) -> None:
    """Puts the fields after the lead in the order of their cells' company, the largest first."""
    for nth in range(lead, len(order)):
        rest[nth] = worth[cells[order[nth]]]
    for nth in range(lead + 1, len(order)):
        field, key, to = order[nth], rest[nth], nth
        while to > lead and rest[to - 1] < key:
            order[to], rest[to] = order[to - 1], rest[to - 1]
            to -= 1
        order[to], rest[to] = field, key


@kernel
def _slot(parent: Any, value: Any, table: Any) -> Any:
    """Where a node is, or would be."""
    parents, values, _, _ = table
    mask = len(parents) - 1
    mix = np.uint64(parent) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(value) * np.uint64(0xC2B2AE3D27D4EB4F)
    at = np.int64((mix ^ (mix >> np.uint64(29))) & np.uint64(mask))
    while values[at] != _EMPTY and not (parents[at] == parent and values[at] == value):
        at = (at + 1) & mask
    return at


@kernel
def _insert(order: Any, cells: Any, table: Any, root: Any) -> Any:
    """Adds a row to its path; returns the number of nodes that are new."""
    parents, values, rows_below, child_fields = table
    node, made = root, 0
    for nth in range(len(order)):
        field = order[nth]
        at = _slot(node, cells[field], table)
        if values[at] == _EMPTY:
            parents[at], values[at] = node, cells[field]
            made += 1
        child_fields[node, field >> 6] |= np.uint64(1) << np.uint64(field & 63)
        rows_below[at] += 1
        node = at
    return made


@kernel
def _remove(order: Any, cells: Any, weights: Any, table: Any, root: Any) -> Any:
    """Takes a row off its path; returns the tokens of it that other rows still have."""
    rows_below = table[2]
    node, shared = root, 0.0
    for nth in range(len(order)):
        value = cells[order[nth]]
        node = _slot(node, value, table)
        rows_below[node] -= 1
        if rows_below[node] > 0:
            shared += weights[value]
    return shared


@kernel
def _best_path(
    cells: Any, weights: Any, table: Any, root: Any, most: Any, path: Any, best_path: Any, used: Any
) -> Any:
    """The path on which other rows have most of these cells: its length and tokens; sees at most `most`."""
    values, rows_below, child_fields = table[1], table[2], table[3]
    fields = len(cells)
    nodes, tokens, next_field = (
        np.empty(fields + 1, np.int64),
        np.empty(fields + 1),
        np.zeros(fields + 1, np.int64),
    )
    nodes[0], tokens[0], depth, visits = root, 0.0, 0, 0
    used[:] = False
    best, length = 0.0, 0
    while depth >= 0:
        field = next_field[depth]
        if field == fields or visits > most:
            depth -= 1
            if depth >= 0:
                used[path[depth]] = False
            continue
        next_field[depth] += 1
        if used[field] or not (child_fields[nodes[depth], field >> 6] >> np.uint64(field & 63)) & np.uint64(
            1
        ):
            continue
        at = _slot(nodes[depth], cells[field], table)
        if values[at] == _EMPTY or rows_below[at] == 0:
            continue
        visits += 1
        path[depth] = field
        used[field] = True
        depth += 1
        nodes[depth], tokens[depth], next_field[depth] = at, tokens[depth - 1] + weights[cells[field]], 0
        if tokens[depth] > best:
            best, length = tokens[depth], depth
            best_path[:depth] = path[:depth]
    return length, best
