"""What the solver returns: in which order to ask about the rows, and each row's fields in which order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class RowOrder:
    """A verified plan for the rows of a table. Position p is the p-th request.

    Attributes:
        fields: the table's fields, in table order.
        row_indices: int64 (n_rows,); the table's row asked at each position, a permutation.
        orders: int16 (n_orders, n_fields); the distinct field orders, each a permutation of places in
            `fields`.
        order_index: int32 (n_rows,); which of `orders` each position takes.
        slots: int16 (n_rows, n_fields), only with sets; at position p the cell of field `slots[p, j]` stands
            under the name of field j. Differs from j only inside sets.
        group_index: int32 (n_rows,); positions with one number share a leading run of cells, in one piece.
        policy: the method whose plan this is.
        reason: why rows and fields are as they came; empty when they are not.
        prompt_tokens: tokens of all prompts, instruction included.
        shared_tokens: those of them that the request before begins with, in full blocks.
        squared_share: the paper's objective (PHC, section 3.1) over its maximum: squared characters of
            leading cells equal to the request before, of all cells.
    """

    fields: tuple[str, ...]
    row_indices: NDArray[np.int64]
    orders: NDArray[np.int16]
    order_index: NDArray[np.int32]
    slots: NDArray[np.int16] | None
    group_index: NDArray[np.int32]
    policy: str
    reason: str
    prompt_tokens: int
    shared_tokens: int
    squared_share: float

    @property
    def compute_tokens(self) -> int:
        """Prompt tokens left to compute, the solver's objective."""
        return self.prompt_tokens - self.shared_tokens

    def field_names(self, position: int) -> list[str]:
        """The fields of the request at `position`, in prompt order."""
        return [self.fields[place] for place in self.orders[self.order_index[position]]]

    def apply(self, table: pa.Table) -> pa.Table:
        """Returns the rows in execution order; cells of sets stand under the names the model sees.

        Args:
            table: the table that was ordered.
        """
        import pyarrow as pa

        moved = table.take(pa.array(self.row_indices))
        if self.slots is None:
            return moved
        rows, columns = np.arange(len(self.row_indices)), []
        for place, name in enumerate(moved.column_names):
            sources = self.slots[:, place]
            if (sources == place).all():
                columns.append(moved.column(name))
                continue
            used = np.unique(sources)
            stacked = pa.chunked_array(
                [chunk for source in used for chunk in moved.column(int(source)).chunks]
            )
            at = np.searchsorted(used, sources) * len(rows) + rows
            columns.append(stacked.take(pa.array(at)))
        return pa.table(columns, names=moved.column_names)

    def plan(self) -> pa.Table:
        """Returns the plan as it stands on disk: `row` int64, `fields` list<string>, a record per request."""
        import pyarrow as pa

        names = np.array(self.fields, dtype=object)
        lists = pa.array([list(names[order]) for order in self.orders], pa.list_(pa.string()))
        return pa.table({"row": pa.array(self.row_indices), "fields": lists.take(pa.array(self.order_index))})

    def with_positions(self, positions: NDArray[np.int64]) -> RowOrder:
        """Returns the same requests in another order; `positions` is a permutation of 0 … n_rows - 1."""
        slots = None if self.slots is None else self.slots[positions]
        return replace(
            self,
            row_indices=self.row_indices[positions],
            order_index=self.order_index[positions],
            slots=slots,
            group_index=self.group_index[positions],
        )


def verify(order: RowOrder, n_rows: int, sets: tuple[tuple[int, ...], ...], cells: Any = None) -> None:
    """Raises AssertionError unless the plan asks about every row once, with every field once.

    Args:
        order: the plan.
        n_rows: rows of the table.
        sets: places of the fields that may change places, by set.
        cells: `Encoded.ids` of the table; with sets, the moved cells must be the row's own.
    """
    n_fields = len(order.fields)
    if order.row_indices.shape != (n_rows,) or order.order_index.shape != (n_rows,):
        raise AssertionError(f"{order.row_indices.shape[0]} requests for {n_rows} rows")
    if n_rows and not (np.bincount(order.row_indices, minlength=n_rows) == 1).all():
        raise AssertionError("a row is asked twice or never")
    if not (np.sort(order.orders, axis=1) == np.arange(n_fields)).all():
        raise AssertionError("a field stands twice or never in a prompt")
    if n_rows and not (order.order_index.min() >= 0 and order.order_index.max() < len(order.orders)):
        raise AssertionError("a request without a field order")
    if order.slots is None:
        return
    movable = {place: group for group in sets for place in group}
    for place in range(n_fields):
        group = movable.get(place, (place,))
        if not np.isin(order.slots[:, place], group).all():
            raise AssertionError(f"a cell left its set for the field {order.fields[place]}")
    if not (np.sort(order.slots, axis=1) == np.arange(n_fields)).all():
        raise AssertionError("a cell stands twice or never in a prompt")
    if cells is not None and cells.size:
        moved = np.take_along_axis(cells[order.row_indices], order.slots.astype(np.int64), axis=1)
        for group in sets:
            inside = list(group)
            if not (
                np.sort(moved[:, inside], axis=1) == np.sort(cells[order.row_indices][:, inside], axis=1)
            ).all():
                raise AssertionError("a cell of a set was changed")
