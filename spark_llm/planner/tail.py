"""After the last shared cell: which field comes next, and in which order the rows of a group stand.

No whole cell is shared any more, but the name of the next field is, and often the start of its text. So the
fields left over stand in one order for the whole table, the one whose name and common start are longest
first, and the rows of a group are sorted by that text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from spark_llm.planner.kernel import kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spark_llm.planner.encode import Encoded
    from spark_llm.planner.reduce_fields import Reduced

_PAIRS: Final = 256
_CHARS_PER_TOKEN: Final = 4


def tail_rank(encoded: Encoded, seed: int) -> NDArray[np.int16]:
    """Returns all fields, the best to follow the last shared cell first; int16 (n_fields,)."""
    rows, fields = encoded.ids.shape
    if not rows:
        return np.arange(fields, dtype=np.int16)
    pairs = np.random.default_rng(seed).integers(0, rows, (2, _PAIRS))
    left, right = encoded.ids[pairs[0]], encoded.ids[pairs[1]]
    differ = encoded.sort_keys[left] ^ encoded.sort_keys[right]
    # bytes that two 8-byte starts have in common
    common = 8 - np.ceil(np.log2(differ.astype(np.float64) + 1) / 8)
    whole = encoded.weights_tokens[left] - encoded.name_tokens
    worth = encoded.name_tokens + np.where(left == right, whole, common / _CHARS_PER_TOKEN).mean(axis=0)
    return np.argsort(-worth, kind="stable").astype(np.int16)


def full_orders(
    reduced: Reduced, orders: NDArray[np.int16], fixed: NDArray[np.int16], rank: NDArray[np.int16]
) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Returns orders of all fields, int16 (n_rows, n_fields), and how many of them lead, int16 (n_rows,)."""
    nth = np.argsort(rank)
    members = [place for group in reduced.members for place in sorted(group, key=lambda place: nth[place])]
    bounds = np.cumsum([0, *map(len, reduced.members)])
    return _full(  # type: ignore[no-any-return]
        _coarse_first(orders, fixed, reduced.fixes) if reduced.fixes.any() else orders,
        fixed,
        np.array(members, np.int16),
        bounds.astype(np.int64),
        np.array(reduced.leading, np.int16),
        np.array(reduced.last, np.int16),
        rank,
    )


@kernel
def _coarse_first(orders: Any, fixed: Any, fixes: Any) -> Any:
    """The same orders with a field that another one fixes before it: its cells are equal in more rows."""
    count, fields = orders.shape
    moved = orders.copy()
    fixed_by_any = np.zeros(fields, np.bool_)
    for a in range(fields):
        for b in range(fields):
            fixed_by_any[b] |= fixes[a, b]
    for at in range(count):
        if at and fixed[at] == fixed[at - 1] and (orders[at] == orders[at - 1]).all():
            moved[at] = moved[at - 1]
            continue
        for nth in range(1, fixed[at]):
            field, to = moved[at, nth], 0
            if not fixed_by_any[field]:
                continue
            while to < nth and not fixes[moved[at, to], field]:
                to += 1
            for place in range(nth, to, -1):
                moved[at, place] = moved[at, place - 1]
            moved[at, to] = field
    return moved


@kernel
def _full(orders: Any, fixed: Any, members: Any, bounds: Any, leading: Any, last: Any, rank: Any) -> Any:
    count, fields = len(fixed), len(rank)
    full, lead = np.empty((count, fields), np.int16), np.empty(count, np.int16)
    placed = np.empty(fields, np.bool_)
    for at in range(count):
        if at and fixed[at] == fixed[at - 1] and (orders[at] == orders[at - 1]).all():
            full[at], lead[at] = full[at - 1], lead[at - 1]
            continue
        placed[:] = False
        write = 0
        for field in leading:
            full[at, write] = field
            placed[field] = True
            write += 1
        for nth in range(fixed[at]):
            for place in range(bounds[orders[at, nth]], bounds[orders[at, nth] + 1]):
                full[at, write] = members[place]
                placed[members[place]] = True
                write += 1
        lead[at] = write
        for field in last:
            placed[field] = True
        for field in rank:
            if not placed[field]:
                full[at, write] = field
                write += 1
        for field in last:
            full[at, write] = field
            write += 1
    return full, lead


def groups_at(cells: NDArray[np.int32], full: NDArray[np.int16], depth: int) -> NDArray[np.int64]:
    """Returns where the groups of rows that share their first `depth` cells begin, and the end; int64."""
    changes = np.diff(leading_groups(cells, full, depth))
    return np.concatenate([[0], np.flatnonzero(changes) + 1, [len(full)]]).astype(np.int64)


@kernel
def leading_groups(cells: Any, full: Any, depth: Any) -> Any:
    """int32 (n_rows,): a new number where the request before differs in its first `depth` cells."""
    count, fields = full.shape
    groups = np.zeros(count, np.int32)
    for at in range(1, count):
        same, nth = True, 0
        while same and nth < min(depth, fields):
            field = full[at, nth]
            same = full[at - 1, nth] == field and cells[at - 1, field] == cells[at, field]
            nth += 1
        groups[at] = groups[at - 1] + (0 if same else 1)
    return groups


@kernel
def distinct_orders(full: Any) -> Any:
    """The distinct rows of `full`, int16 (n_orders, n_fields), and which one each is, int32 (n_rows,)."""
    count, fields = full.shape
    size = 1
    while size < 2 * count + 2:
        size *= 2
    places = np.full(size, -1, np.int32)
    sources, index, found = np.empty(count, np.int64), np.empty(count, np.int32), 0
    for at in range(count):
        if at and (full[at] == full[at - 1]).all():
            index[at] = index[at - 1]
            continue
        mix = np.uint64(1469598103934665603)
        for nth in range(fields):
            mix = (mix ^ np.uint64(full[at, nth] + 1)) * np.uint64(1099511628211)
        place = np.int64(mix >> np.uint64(20)) & (size - 1)
        while places[place] >= 0 and not (full[sources[places[place]]] == full[at]).all():
            place = (place + 1) & (size - 1)
        if places[place] < 0:
            places[place] = found
            sources[found] = at
            found += 1
        index[at] = places[place]
    orders = np.empty((found, fields), np.int16)
    for nth in range(found):
        orders[nth] = full[sources[nth]]
    return orders, index
