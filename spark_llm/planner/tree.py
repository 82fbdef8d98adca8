"""The adaptive column tree: each group of rows goes on with the field that shares most there.

    all rows ── film ──► 41 rows of film 7 ── critic ──► ...
                    └──► rows whose film occurs once: together, split again by another field

Fields equal in all rows of a group come first. With `candidates` > 1 the best few fields are tried by a
greedy completion before one is chosen. Nearly O(rows * fields * depth).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from spark_llm.planner.emit import emit
from spark_llm.planner.kernel import kernel
from spark_llm.planner.rollout import completion_tokens

NEVER = 1 << 30


@kernel
def solve_tree(
    ids: Any,
    rows: Any,
    weights: Any,
    starts: Any,
    fixes: Any,
    candidates: Any,
    small: Any,
    orders: Any,
    fixed: Any,
) -> None:
    """Orders rows and fields in place.

    Args:
        ids: int32 (n, m), row p at place p; permuted in place.
        rows: int32 (n,), the source row at each place; permuted alike.
        weights: float64 (n_ids,).
        starts: int64 (groups + 1,); each group is solved alone and stays in one piece.
        fixes: bool (m, m); fixes[a, b]: field a fixes field b. b then goes first: its cells are equal in more
            rows.
        candidates: fields tried per group.
        small: groups of at most so many rows take the best field untried.
        orders: int16 (n, m), written: fields in prompt order; those after `fixed` of them are in no order.
        fixed: int16 (n,), written: how many leading fields matter.
    """
    count, fields = ids.shape
    groups = len(starts) - 1
    places = max(len(weights), count + 2)
    scratch = np.zeros((3, places), np.int64)
    clock = np.zeros(1, np.int64)
    # low, high, placed fields, level, a field unique here, the field that the groups beside go on with
    stack = np.empty((count + groups + 2, 6), np.int64)
    ids_moved, rows_moved = np.empty_like(ids), np.empty_like(rows)
    path, open_fields = np.empty(fields + 1, np.int16), np.empty(fields, np.bool_)
    dead_level = np.full(fields, NEVER, np.int64)  # the level at which a field was found unique in its group
    gains, repeats = np.empty(fields, np.float64), np.empty(fields, np.int64)
    depth = 0
    for group in range(groups - 1, -1, -1):
        stack[depth] = (starts[group], starts[group + 1], 0, 0, -1, -1)
        depth += 1
    while depth > 0:
        depth -= 1
        low, high, placed, level, unique, beside = stack[depth]
        for field in range(fields):
            open_fields[field] = True
            if dead_level[field] >= level:
                dead_level[field] = NEVER
        if unique >= 0:
            dead_level[unique] = level
        for nth in range(placed):
            open_fields[path[nth]] = False
        useful = 0
        if high - low > 1:
            _measure(ids, weights, low, high, open_fields, dead_level, scratch[0], clock, gains, repeats)
            for field in range(fields):
                if open_fields[field] and dead_level[field] == NEVER:
                    if repeats[field] == high - low - 1:
                        path[placed] = field
                        placed += 1
                        open_fields[field] = False
                    elif repeats[field] > 0:
                        useful += 1
                    else:
                        dead_level[field] = level
        if useful == 0:
            if beside >= 0 and open_fields[beside]:
                # at least its name is shared, and often the start of its text
                path[placed] = beside
                placed += 1
                open_fields[beside] = False
            emit(path, placed, open_fields, low, high, orders, fixed)
            continue
        for field in range(fields):
            if not open_fields[field] or dead_level[field] != NEVER:
                gains[field] = -1.0
        chosen = int(np.argmax(gains))
        # A gain of 0: what repeats is left out of the prompt, and there is nothing to try for.
        if candidates > 1 and useful > 1 and high - low > small and gains[chosen] > 0.0:
            chosen = _try(ids, weights, low, high, open_fields, dead_level, gains, candidates, scratch, clock)
        coarser = True
        while coarser:
            coarser = False
            for field in range(fields):
                if fixes[chosen, field] and open_fields[field] and dead_level[field] == NEVER:
                    chosen, coarser = field, True
                    break
        path[placed] = chosen
        depth = _split(
            ids, rows, low, high, chosen, placed, level, beside, stack, depth, scratch, ids_moved, rows_moved
        )


@kernel
def _measure(
    ids: Any, weights: Any, low: Any, high: Any, open_fields: Any, dead_level: Any, stamps: Any, clock: Any,
    gains: Any, repeats: Any,
) -> None:  # fmt: skip
    """Tokens and cells that each field repeats within the rows low:high."""
    fields = ids.shape[1]
    listed, live = np.empty(fields, np.int64), 0
    for field in range(fields):
        gains[field], repeats[field] = 0.0, 0
        if open_fields[field] and dead_level[field] == NEVER:
            listed[live] = field
            live += 1
    clock[0] += 1
    for at in range(low, high):
        for nth in range(live):
            field = listed[nth]
            value = ids[at, field]
            if stamps[value] == clock[0]:
                gains[field] += weights[value]
                repeats[field] += 1
            else:
                stamps[value] = clock[0]


@kernel
def _try(
    ids: Any, weights: Any, low: Any, high: Any, open_fields: Any, dead_level: Any, gains: Any,
    candidates: Any, scratch: Any, clock: Any,
) -> Any:  # fmt: skip
    """The field whose groups share most tokens under a greedy completion, among the best few."""
    fields, size = ids.shape[1], high - low
    members = np.empty(size, np.int64)
    bounds = np.empty(size // 2 + 2, np.int64)
    still_open = np.empty(fields, np.bool_)
    best, chosen = -1.0, -1
    for _ in range(candidates):
        field = int(np.argmax(gains))
        if gains[field] <= 0.0:
            break
        tokens = gains[field]
        gains[field] = -1.0
        groups = _groups_of(ids, field, low, high, scratch[1], scratch[2], members, bounds)
        for other in range(fields):
            still_open[other] = open_fields[other] and dead_level[other] == NEVER and other != field
        tokens += completion_tokens(ids, weights, members, bounds, groups, still_open, scratch, clock)
        # the rows that are alone under this field go on without it
        alone = _alone(ids, field, low, high, scratch[1], members)
        if alone > 1:
            bounds[0], bounds[1] = 0, alone
            for other in range(fields):
                still_open[other] = open_fields[other] and dead_level[other] == NEVER and other != field
            tokens += completion_tokens(ids, weights, members, bounds, 1, still_open, scratch, clock)
        if tokens > best:
            best, chosen = tokens, field
    return chosen


@kernel
def count_values(ids: Any, field: Any, low: Any, high: Any, counts: Any, touched: Any) -> Any:
    """Counts the field's values in low:high, lists them in `touched`, and returns their number."""
    seen = 0
    for at in range(low, high):
        value = ids[at, field]
        if counts[value] == 0:
            touched[seen] = value
            seen += 1
        counts[value] += 1
    return seen


@kernel
def _groups_of(
    ids: Any, field: Any, low: Any, high: Any, counts: Any, touched: Any, members: Any, bounds: Any
) -> Any:
    """Writes the rows of values that occur twice or more, by group; returns the number of groups."""
    seen = count_values(ids, field, low, high, counts, touched)
    write, made = 0, 0
    bounds[0] = 0
    for nth in range(seen):
        value = touched[nth]
        size = counts[value]
        if size > 1:
            counts[value] = -write - 1
            write += size
            made += 1
            bounds[made] = write
        else:
            counts[value] = 0
    for at in range(low, high):
        value = ids[at, field]
        if counts[value] < 0:
            members[-counts[value] - 1] = at
            counts[value] -= 1
    for nth in range(seen):
        counts[touched[nth]] = 0
    return made


@kernel
def _alone(ids: Any, field: Any, low: Any, high: Any, counts: Any, members: Any) -> Any:
    """Writes the rows whose value of the field occurs once in low:high, and returns their number."""
    for at in range(low, high):
        counts[ids[at, field]] += 1
    found = 0
    for at in range(low, high):
        if counts[ids[at, field]] == 1:
            members[found] = at
            found += 1
    for at in range(low, high):
        counts[ids[at, field]] = 0
    return found


@kernel
def _split(
    ids: Any, rows: Any, low: Any, high: Any, field: Any, placed: Any, level: Any, beside: Any, stack: Any,
    depth: Any, scratch: Any, ids_moved: Any, rows_moved: Any,
) -> Any:  # fmt: skip
    """Moves equal values together, puts the groups on the stack, the rest below; returns its depth."""
    counts, touched = scratch[1], scratch[2]
    seen = count_values(ids, field, low, high, counts, touched)
    rest = depth
    depth += 1
    write = low
    for nth in range(seen):
        value = touched[nth]
        size = counts[value]
        if size > 1:
            stack[depth] = (write, write + size, placed + 1, level + 1, -1, -1)
            depth += 1
            counts[value] = -write - 1
            write += size
        else:
            counts[value] = 0
    left = write
    for at in range(low, high):
        value = ids[at, field]
        if counts[value] < 0:
            to = -counts[value] - 1
            counts[value] -= 1
        else:
            to = left
            left += 1
        ids_moved[to] = ids[at]
        rows_moved[to] = rows[at]
    for nth in range(seen):
        counts[touched[nth]] = 0
    ids[low:high] = ids_moved[low:high]
    rows[low:high] = rows_moved[low:high]
    # below the groups: it overwrites the path, which they still need
    stack[rest] = (write, high, placed, level + 1, field, beside if beside >= 0 else field)
    if write == high:
        stack[rest] = stack[depth - 1]
        depth -= 1
    return depth
