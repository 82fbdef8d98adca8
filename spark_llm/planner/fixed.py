"""One field order for all rows, and the rows sorted by it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numba import njit

from spark_llm.planner.rollout import refine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spark_llm.planner.reduce_fields import Reduced


_LARGE_ROWS: Final = 200_000


def by_statistics(reduced: Reduced) -> list[int]:
    """Returns reduced fields by mean tokens times rows per distinct value (the paper's fixed order, section 4.2.2)."""
    rows, fields = reduced.ids.shape
    worth = []
    for field in range(fields):
        column = reduced.ids[:, field]
        distinct = len(np.unique(column))
        worth.append(float(reduced.weights_tokens[column].mean()) * (rows / max(1, distinct) - 1))
    return sorted(range(fields), key=lambda field: (-worth[field], field))


def by_gain(reduced: Reduced) -> list[int]:
    """Returns reduced fields so that each shares most among the rows that are equal in all fields before it."""
    fields = reduced.ids.shape[1]
    order = _greedy_order(reduced.ids, reduced.weights_tokens)
    chosen = [int(field) for field in order if field >= 0]
    return chosen + [field for field in range(fields) if field not in chosen]


def sort_rows(ids: NDArray[np.int32], order: Sequence[int]) -> NDArray[np.int32]:
    """Returns the rows sorted by the fields in `order`, int32 (n_rows,)."""
    rows, product, keys = len(ids), 1.0, []
    for field in order:
        keys.append(ids[:, field])
        product *= max(1, len(np.unique(ids[:4096, field])))
        if rows > _LARGE_ROWS and product > float(rows) ** 2 and len(keys) > 2:
            break  # rows equal in all of these are equal in what is left, or as good as
    return np.lexsort(keys[::-1]).astype(np.int32) if keys else np.arange(rows, dtype=np.int32)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _greedy_order(ids: Any, weights: Any) -> Any:
    count, fields = ids.shape
    stamps, clock = np.zeros(len(weights), np.int64), 0
    counts, touched = np.zeros(len(weights), np.int64), np.empty(count + 1, np.int64)
    rows, moved = np.arange(count), np.empty(count, np.int64)
    bounds, new_bounds = np.empty(count // 2 + 2, np.int64), np.empty(count // 2 + 2, np.int64)
    bounds[0], bounds[1], groups = 0, count, 1
    order, gains, open_fields = np.full(fields, -1), np.empty(fields), np.ones(fields, np.bool_)
    for nth in range(fields):
        gains[:] = 0.0
        for group in range(groups):
            clock += 1
            for at in range(bounds[group], bounds[group + 1]):
                for field in range(fields):
                    if open_fields[field]:
                        value = ids[rows[at], field]
                        if stamps[value] == clock:
                            gains[field] += weights[value]
                        else:
                            stamps[value] = clock
        if gains.max() <= 0.0:
            break
        best = np.argmax(gains)
        order[nth] = best
        open_fields[best] = False
        groups = refine(ids, best, rows, bounds, groups, (counts, touched, moved, new_bounds))
    return order
