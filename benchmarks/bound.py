"""How far can any order go? An upper bound on the cells reused, whatever the field order of each row.

A row can only reuse cells that it shares with one earlier row, so all rows together reuse at most the weight
of a maximum spanning tree over the rows, an edge weighing the tokens of the cells that two rows have in
common. Prim's algorithm on the full graph: O(rows² × fields).

The bound leaves out the instruction and what two unequal cells share at their start (mostly the name).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from spark_llm.analyze.cells import Cells
from spark_llm.analyze.orders import first_of_each


def spanning_tree_share(cells: Cells, max_steps: float) -> float | None:
    """Returns the bound as a share of all cell tokens; None where rows² × fields exceeds ``max_steps``."""
    ids, tokens = cells.ids, cells.cell_tokens
    total = tokens.sum()
    counts = np.bincount(ids.ravel())
    rows = first_of_each(ids)
    repeated = np.delete(np.arange(len(ids)), rows)
    weight = float(tokens[repeated].sum())
    merged: dict[bytes, tuple[Any, Any]] = {}
    for at in range(ids.shape[1]):
        if not (counts[ids[:, at]] > 1).any():
            continue
        _, codes = np.unique(ids[rows, at], return_inverse=True)
        # fields that fix each other are shared by the same rows: one field with the sum of their tokens
        _, first = np.unique(codes, return_index=True)
        rank = np.argsort(np.argsort(first))
        key = rank[codes].astype(np.int32)
        known = merged.get(key.tobytes())
        merged[key.tobytes()] = (key, tokens[rows, at] + (known[1] if known is not None else 0))
    if len(rows) ** 2 * len(merged) > max_steps:
        return None
    if merged:
        codes = np.ascontiguousarray(np.stack([key for key, _ in merged.values()], 1))
        weights = np.ascontiguousarray(np.stack([w for _, w in merged.values()], 1).astype(np.float32))
        weight += _prim(codes, weights)
    return weight / float(total)


@njit(cache=True, fastmath=True)
def _prim(codes: Any, weights: Any) -> Any:
    count, fields = codes.shape
    best = np.zeros(count, np.float32)
    left = np.arange(1, count)
    current, size, total = 0, count - 1, 0.0
    while size:
        top, top_at = np.float32(-1), 0
        for at in range(size):
            row = left[at]
            shared = np.float32(0)
            for field in range(fields):
                if codes[row, field] == codes[current, field]:
                    shared += weights[row, field]
            best[row] = max(best[row], shared)
            if best[row] > top:
                top, top_at = best[row], at
        total += top
        current = left[top_at]
        size -= 1
        left[top_at] = left[size]
    return total
