"""The orders that are compared: as written, one fixed field order, and what the planner makes.

written  rows and fields as they stand          fixed  one field order for all rows, rows sorted by it
planned  rows, and a field order per row, by `spark_llm.planner.order_table`
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spark_llm.planner import RowOrder


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests in execution order.

    Attributes:
        rows: int64 (n_requests,), the row each asks about.
        orders: int64 (n_orders, n_fields), distinct field orders as positions in written order.
        order_index: int64 (n_requests,), into ``orders``.
        slots: int64 (n_requests, n_fields) or None; ``slots[p, j]`` is the field whose cell stands under the
            name of field j, where fields are a set.
    """

    rows: NDArray[np.int64]
    orders: NDArray[np.int64]
    order_index: NDArray[np.int64]
    slots: NDArray[np.int64] | None = None

    def slots_or_none(self) -> NDArray[np.int64]:
        """Returns the slots for compiled code: no rows at all where nothing moves."""
        return np.zeros((0, self.orders.shape[1]), np.int64) if self.slots is None else self.slots

    def slice(self, begin: int, end: int) -> Requests:
        """Returns the requests from ``begin`` to before ``end``."""
        return replace(
            self,
            rows=self.rows[begin:end],
            order_index=self.order_index[begin:end],
            slots=None if self.slots is None else self.slots[begin:end],
        )

    def without_duplicates(self, ids: NDArray[np.int32]) -> Requests:
        """Returns the requests that ask something for the first time; ``ids`` are those of the cells."""
        keep = np.zeros(len(self.rows), np.bool_)
        keep[first_of_each(ids[self.rows])] = True
        return replace(
            self,
            rows=self.rows[keep],
            order_index=self.order_index[keep],
            slots=None if self.slots is None else self.slots[keep],
        )


def first_of_each(ids: NDArray[np.int32]) -> NDArray[np.int64]:
    """Returns the first row of each distinct one, ascending."""
    import pandas as pd

    keys = row_keys(ids)
    found: NDArray[np.int64] = np.flatnonzero(~pd.Series(keys).duplicated().to_numpy())
    return found


def row_keys(ids: NDArray[np.int32]) -> NDArray[np.uint64]:
    """Returns a 64-bit key per row; equal rows have equal keys."""
    found: NDArray[np.uint64] = hashed(ids).sum(axis=1, dtype=np.uint64)
    return found


def hashed(ids: NDArray[np.int32]) -> NDArray[np.uint64]:
    """Returns a 64-bit hash per cell; the sum over some fields is a key of a row's cells in these fields."""
    place = np.arange(ids.shape[1], dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    x = ids.astype(np.uint64) + np.uint64(1) + place
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    found: NDArray[np.uint64] = x ^ (x >> np.uint64(31))
    return found


def as_written(rows: int, fields: int) -> Requests:
    """Returns rows and fields as they stand."""
    return Requests(
        np.arange(rows, dtype=np.int64),
        np.arange(fields, dtype=np.int64)[None, :],
        np.zeros(rows, np.int64),
    )


def from_plan(order: RowOrder) -> Requests:
    """Returns the planner's order."""

    def wide(values: Any) -> NDArray[np.int64]:
        return np.asarray(values, np.int64)

    slots = None if order.slots is None else wide(order.slots)
    return Requests(wide(order.row_indices), wide(order.orders), wide(order.order_index), slots)
