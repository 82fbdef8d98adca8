"""Group greedy recursion (GGR): the value whose rows share most goes first, then its rows, then the rest.

    value "Amelie" in 41 rows: (tokens of the cell and what it determines)^power x 40   the largest goes first
        its 41 rows: fields equal in all of them next, then the same again
        other rows: the next largest value, counted without rows already taken

Source: arXiv 2403.05821, section 4.2. Differs from the paper: exact, without its early stop; a lazy heap
instead of a scan per step (counts only fall, by subtraction), so a level costs O(rows * fields); the weight
is in tokens; fields equal in all rows of a group are found there instead of declared; values of a set of
fields (see `order_table`) are counted in whichever field of the set they stand, and move to the set's first
free field.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from spark_llm.planner.emit import emit
from spark_llm.planner.kernel import kernel
from spark_llm.planner.rollout import completion_tokens


@kernel
def solve_greedy(
    ids: Any, rows: Any, weights: Any, scores: Any, starts: Any, sets: Any, slots: Any, roll: Any,
    orders: Any, fixed: Any,
) -> None:  # fmt: skip
    """Orders rows and fields in place.

    Args:
        ids: int32 (n, m), row p at place p; permuted in place.
        rows: int32 (n,), the source row at each place; permuted alike.
        weights: float64 (n_ids,); tokens per cell.
        scores: float64 (n_ids,); worth of a value per row that shares it.
        starts: int64 (groups + 1,); each group is solved alone and stays in one piece.
        sets: int16 (m,); number of the set a field belongs to, -1 for none.
        slots: int16 (n, m) or (0, 0) without sets; the source field of each cell, permuted with `ids`.
        roll: 0 for the published score; else a value is worth what its group shares under a greedy
            completion, divided by its rows to the power of `roll`.
        orders: int16 (n, m), written: fields in prompt order; those after `fixed` of them are in no order.
        fixed: int16 (n,), written: how many leading fields matter.
    """
    count, fields = ids.shape
    groups = len(starts) - 1
    stack = np.empty((count + groups + 2, 4), np.int64)  # low, high, placed fields, the field placed last
    path, open_fields = np.empty(fields + 1, np.int16), np.empty(fields, np.bool_)
    counts, firsts = np.zeros(len(weights), np.int32), np.empty(len(weights), np.int64)
    touched = np.empty(min(len(weights), count * fields) + 1, np.int32)
    lists = np.empty(count * fields + 1, np.int32)
    heap_scores, heap_values = np.empty(len(touched), np.float64), np.empty(len(touched), np.int32)
    heap_counts = np.empty(len(touched), np.int32)
    taken, moved = np.zeros(count, np.bool_), np.empty(count, np.int32)
    memory = (np.empty_like(ids), np.empty_like(rows), np.empty_like(slots))
    scratch = np.zeros((3, max(len(weights), count + 2) if roll > 0 else 1), np.int64)
    clock = np.zeros(1, np.int64)
    depth = 0
    for group in range(groups - 1, -1, -1):
        stack[depth] = (starts[group], starts[group + 1], 0, -1)
        depth += 1
    while depth > 0:
        depth -= 1
        low, high, placed, last = stack[depth]
        if last >= 0:
            path[placed - 1] = last
        size = high - low
        open_fields[:] = True
        for nth in range(placed):
            open_fields[path[nth]] = False
        if size == 1 or placed == fields:
            emit(path, placed, open_fields, low, high, orders, fixed)
            continue
        seen = _count(ids, low, high, open_fields, sets, counts, touched)
        for field in range(fields):
            value = ids[low, field]
            if open_fields[field] and sets[field] < 0 and counts[value] == size:
                path[placed] = field
                placed += 1
                open_fields[field] = False
                counts[value] = 0
        _list_rows(ids, low, high, open_fields, sets, counts, touched, seen, firsts, lists)
        entries = 0
        for nth in range(seen):
            value = touched[nth]
            if counts[value] > 1:
                heap_values[entries], heap_counts[entries] = value, counts[value]
                heap_scores[entries] = _worth(
                    ids, weights, scores, value, counts[value], firsts, lists, taken, low, open_fields,
                    roll, scratch, clock,
                )  # fmt: skip
                entries += 1
        for at in range(entries // 2 - 1, -1, -1):
            _sift(heap_scores, heap_values, heap_counts, entries, at)
        write, bottom, beside = low, depth, -1
        while entries > 0:
            value, alive = heap_values[0], counts[heap_values[0]]
            if alive == heap_counts[0] and alive > 1:
                field = _field_of(
                    ids, lists[firsts[value]], value, open_fields, sets, taken, firsts, lists, low
                )
                if beside < 0:
                    beside = field
                first = write
                at = firsts[value]
                while write - first < alive:
                    row = lists[at]
                    at += 1
                    if not taken[row - low]:
                        taken[row - low] = True
                        moved[write] = row
                        write += 1
                for place in range(first, write):
                    _uncount(ids, moved[place], open_fields, sets, counts)
                    if sets[field] >= 0:
                        _to_slot(ids, slots, moved[place], value, field, open_fields, sets)
                stack[depth] = (first, write, placed + 1, field)
                depth += 1
            if alive > 1 and alive != heap_counts[0]:
                heap_counts[0] = alive
                heap_scores[0] = _worth(
                    ids, weights, scores, value, alive, firsts, lists, taken, low, open_fields, roll,
                    scratch, clock,
                )  # fmt: skip
            else:
                entries -= 1
                heap_scores[0], heap_values[0] = heap_scores[entries], heap_values[entries]
                heap_counts[0] = heap_counts[entries]
            _sift(heap_scores, heap_values, heap_counts, entries, 0)
        grouped = write
        for row in range(low, high):
            if not taken[row - low]:
                moved[write] = row
                write += 1
            taken[row - low] = False
        for nth in range(seen):
            counts[touched[nth]] = 0
        if bottom < depth:
            _permute(ids, rows, slots, moved, low, high, memory)
        if grouped < high:
            if beside >= 0 and sets[beside] < 0:
                # the field of the first group: at least its name is shared, and often the start of its text
                path[placed] = beside
                placed += 1
                open_fields[beside] = False
            emit(path, placed, open_fields, grouped, high, orders, fixed)


@kernel
def _again(ids: Any, row: Any, field: Any, open_fields: Any, sets: Any) -> Any:
    """Does an earlier open field of the same set hold the same value in this row?"""
    if sets[field] < 0:
        return False
    for other in range(field):
        if sets[other] == sets[field] and open_fields[other] and ids[row, other] == ids[row, field]:
            return True
    return False


@kernel
def _count(ids: Any, low: Any, high: Any, open_fields: Any, sets: Any, counts: Any, touched: Any) -> Any:
    seen = 0
    for row in range(low, high):
        for field in range(ids.shape[1]):
            if open_fields[field] and not _again(ids, row, field, open_fields, sets):
                value = ids[row, field]
                if counts[value] == 0:
                    touched[seen] = value
                    seen += 1
                counts[value] += 1
    return seen


@kernel
def _uncount(ids: Any, row: Any, open_fields: Any, sets: Any, counts: Any) -> None:
    for field in range(ids.shape[1]):
        if open_fields[field] and not _again(ids, row, field, open_fields, sets):
            counts[ids[row, field]] -= 1


@kernel
def _list_rows(
    ids: Any, low: Any, high: Any, open_fields: Any, sets: Any, counts: Any, touched: Any, seen: Any,
    firsts: Any, lists: Any,
) -> None:  # fmt: skip
    """Writes the rows of every value that occurs twice or more; those of value v begin at firsts[v]."""
    total = 0
    for nth in range(seen):
        value = touched[nth]
        firsts[value] = total
        if counts[value] > 1:
            total += counts[value]
    for row in range(low, high):
        for field in range(ids.shape[1]):
            value = ids[row, field]
            if open_fields[field] and counts[value] > 1 and not _again(ids, row, field, open_fields, sets):
                lists[firsts[value]] = row
                firsts[value] += 1
    for nth in range(seen):
        value = touched[nth]
        if counts[value] > 1:
            firsts[value] -= counts[value]


@kernel
def _field_of(
    ids: Any, row: Any, value: Any, open_fields: Any, sets: Any, taken: Any, firsts: Any, lists: Any, low: Any
) -> Any:
    """The field a value stands in; in a set, the set's first open field, where it will stand."""
    at = firsts[value]
    while taken[row - low]:
        at += 1
        row = lists[at]
    found = -1
    for field in range(ids.shape[1]):
        if open_fields[field] and ids[row, field] == value:
            found = field
            break
    if sets[found] >= 0:
        for field in range(ids.shape[1]):
            if open_fields[field] and sets[field] == sets[found]:
                return field
    return found


@kernel
def _to_slot(ids: Any, slots: Any, row: Any, value: Any, field: Any, open_fields: Any, sets: Any) -> None:
    """Swaps the value into its field, the cell that stood there into the place it leaves."""
    for other in range(ids.shape[1]):
        if open_fields[other] and sets[other] == sets[field] and ids[row, other] == value:
            ids[row, other], ids[row, field] = ids[row, field], ids[row, other]
            slots[row, other], slots[row, field] = slots[row, field], slots[row, other]
            return


@kernel
def _worth(
    ids: Any, weights: Any, scores: Any, value: Any, alive: Any, firsts: Any, lists: Any, taken: Any,
    low: Any, open_fields: Any, roll: Any, scratch: Any, clock: Any,
) -> Any:  # fmt: skip
    if roll <= 0.0:
        return scores[value] * (alive - 1)
    members, bounds = np.empty(alive, np.int64), np.empty(alive // 2 + 2, np.int64)
    at, found = firsts[value], 0
    while found < alive:
        if not taken[lists[at] - low]:
            members[found] = lists[at]
            found += 1
        at += 1
    still_open = open_fields.copy()
    for field in range(len(still_open)):
        if still_open[field] and ids[members[0], field] == value:
            still_open[field] = False
    bounds[0], bounds[1] = 0, alive
    tokens = weights[value] * (alive - 1)
    tokens += completion_tokens(ids, weights, members, bounds, 1, still_open, scratch, clock)
    return tokens / alive**roll


@kernel
def _sift(scores: Any, values: Any, seen: Any, entries: Any, at: Any) -> None:
    """Restores the heap below `at`; ties go to the smaller value, so that plans are the same everywhere."""
    while True:
        child = 2 * at + 1
        if child >= entries:
            return
        other = child + 1
        if other < entries and (
            scores[other] > scores[child]
            or (scores[other] == scores[child] and values[other] < values[child])
        ):
            child = other
        if scores[child] < scores[at] or (scores[child] == scores[at] and values[child] >= values[at]):
            return
        scores[at], scores[child] = scores[child], scores[at]
        values[at], values[child] = values[child], values[at]
        seen[at], seen[child] = seen[child], seen[at]
        at = child


@kernel
def _permute(ids: Any, rows: Any, slots: Any, moved: Any, low: Any, high: Any, memory: Any) -> None:
    new_ids, new_rows, new_slots = memory
    for at in range(low, high):
        new_ids[at] = ids[moved[at]]
        new_rows[at] = rows[moved[at]]
    ids[low:high] = new_ids[low:high]
    rows[low:high] = new_rows[low:high]
    if len(slots):
        for at in range(low, high):
            new_slots[at] = slots[moved[at]]
        slots[low:high] = new_slots[low:high]
