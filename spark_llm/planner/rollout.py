"""How good is a start? The cell tokens that a greedy completion of some groups of rows would still share."""

from __future__ import annotations

from typing import Any

import numpy as np

from spark_llm.planner.kernel import kernel


@kernel
def completion_tokens(
    ids: Any, weights: Any, rows: Any, bounds: Any, groups: Any, open_fields: Any, scratch: Any, clock: Any
) -> Any:
    """Returns the tokens shared when every group goes on with the one field that shares most, and so on.

    Args:
        ids: int32 (n, m).
        weights: float64 (n_ids,).
        rows: int64; places in `ids` of the rows of group 0, then group 1, …; destroyed.
        bounds: int64; group g is rows[bounds[g]:bounds[g + 1]]; destroyed.
        groups: number of groups.
        open_fields: bool (m,); fields not yet placed; destroyed.
        scratch: int64 (3, max(n_ids, n + 2)): stamps, counts (all 0, and again so at the end), a list.
        clock: int64 (1,); the stamp counter.
    """
    stamps, counts, touched = scratch[0], scratch[1], scratch[2]
    fields = ids.shape[1]
    gains = np.empty(fields, np.float64)
    moved = np.empty(bounds[groups], np.int64)
    new_bounds = np.empty(bounds[groups] // 2 + 2, np.int64)
    total = 0.0
    while bounds[groups] > 1:
        gains[:] = 0.0
        for group in range(groups):
            clock[0] += 1
            for at in range(bounds[group], bounds[group + 1]):
                row = rows[at]
                for field in range(fields):
                    if open_fields[field]:
                        value = ids[row, field]
                        if stamps[value] == clock[0]:
                            gains[field] += weights[value]
                        else:
                            stamps[value] = clock[0]
        best, field = 0.0, -1
        for candidate in range(fields):
            if gains[candidate] > best:
                best, field = gains[candidate], candidate
        if field < 0:
            break
        total += best
        open_fields[field] = False
        groups = _refine(ids, field, rows, bounds, groups, (counts, touched, moved, new_bounds))
    return total


@kernel
def _refine(ids: Any, field: Any, rows: Any, bounds: Any, groups: Any, memory: Any) -> Any:
    """Splits groups by a field in place, drops rows that are alone, and returns the number of groups."""
    counts, touched, moved, new_bounds = memory
    write, made = 0, 0
    new_bounds[0] = 0
    for group in range(groups):
        seen = 0
        for at in range(bounds[group], bounds[group + 1]):
            value = ids[rows[at], field]
            if counts[value] == 0:
                touched[seen] = value
                seen += 1
            counts[value] += 1
        for nth in range(seen):
            value = touched[nth]
            if counts[value] > 1:
                size = counts[value]
                counts[value] = -write - 1  # where its next row goes
                write += size
                made += 1
                new_bounds[made] = write
            else:
                counts[value] = 0
        for at in range(bounds[group], bounds[group + 1]):
            value = ids[rows[at], field]
            if counts[value] < 0:
                moved[-counts[value] - 1] = rows[at]
                counts[value] -= 1
        for nth in range(seen):
            counts[touched[nth]] = 0
    rows[:write] = moved[:write]
    bounds[: made + 1] = new_bounds[: made + 1]
    return made
