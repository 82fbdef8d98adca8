"""The order of what is equally good: groups beside each other, and rows inside a group, go by their text.

Which of two groups comes first changes no whole cell that is shared. But where a group ends, the next one may
begin with the same words: `"body": "I have a question about` before `"body": "I have no idea`. So requests
are sorted as sequences of (field, text) along their leading cells and one more, which keeps every group in
one piece.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spark_llm.planner.kernel import kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FEW = 12


def sorted_siblings(
    cells: NDArray[np.int32], full: NDArray[np.int16], lead: NDArray[np.int16], sort_keys: NDArray[np.uint64]
) -> NDArray[np.int64]:
    """Returns positions in the new order, int64 (n_rows,).

    Args:
        cells: int32 (n_rows, n_fields); ids in execution order, under the names the model sees.
        full: int16 (n_rows, n_fields); fields in prompt order.
        lead: int16 (n_rows,); how many of them lead.
        sort_keys: uint64 (n_ids,); numbers that sort as the values' texts do.
    """
    return _sort(cells, full, lead, sort_keys)  # type: ignore[no-any-return]


@kernel
def _sort(cells: Any, full: Any, lead: Any, sort_keys: Any) -> Any:
    count, fields = full.shape
    order = np.arange(count)
    stack = np.empty((count + 2, 3), np.int64)
    stack[0], depth = (0, count, 0), 1
    while depth > 0:
        depth -= 1
        low, high, nth = stack[depth]
        if high - low < 2 or nth >= fields:
            continue
        _sort_range(order, low, high, nth, cells, full, lead, sort_keys)
        start = low
        for at in range(low + 1, high + 1):
            if at == high or _differs(order[at - 1], order[at], nth, cells, full, lead):
                if at - start > 1 and lead[order[start]] > nth:
                    stack[depth] = (start, at, nth + 1)
                    depth += 1
                start = at
    return order


@kernel
def _differs(a: Any, b: Any, nth: Any, cells: Any, full: Any, lead: Any) -> Any:
    field = full[a, nth]
    ends = (lead[a] > nth) != (lead[b] > nth)
    return ends or full[b, nth] != field or cells[a, field] != cells[b, field]


@kernel
def _before(a: Any, b: Any, nth: Any, cells: Any, full: Any, sort_keys: Any, lead: Any) -> Any:
    """Does request a come before b, judged by what stands at place `nth`? Ties stay as they are."""
    if full[a, nth] != full[b, nth]:
        return full[a, nth] < full[b, nth]
    value, other = cells[a, full[a, nth]], cells[b, full[b, nth]]
    if value == other:
        # rows that go on sharing stand together
        return lead[a] > nth and lead[b] <= nth
    if sort_keys[value] != sort_keys[other]:
        return sort_keys[value] < sort_keys[other]
    return value < other


@kernel
def _sort_range(
    order: Any, low: Any, high: Any, nth: Any, cells: Any, full: Any, lead: Any, sort_keys: Any
) -> None:
    """Stable merge sort of order[low:high], by insertion where there are few."""
    for start in range(low, high, _FEW):
        for at in range(start + 1, min(start + _FEW, high)):
            moving, to = order[at], at
            while to > start and _before(moving, order[to - 1], nth, cells, full, sort_keys, lead):
                order[to] = order[to - 1]
                to -= 1
            order[to] = moving
    width = _FEW
    merged = np.empty(high - low if width < high - low else 0, np.int64)
    while width < high - low:
        for start in range(low, high, 2 * width):
            middle, end = min(start + width, high), min(start + 2 * width, high)
            left, right = start, middle
            for to in range(start, end):
                take_right = right < end and (
                    left >= middle or _before(order[right], order[left], nth, cells, full, sort_keys, lead)
                )
                if take_right:
                    merged[to - low] = order[right]
                    right += 1
                else:
                    merged[to - low] = order[left]
                    left += 1
        order[low:high] = merged
        width *= 2
