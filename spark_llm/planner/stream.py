"""Tables beyond memory: a plan per chunk.

    batches ─► chunk of at most `chunk_bytes` ─► order_table ─► (chunk, its RowOrder) ─► next chunk

A prefix that goes on in the next chunk is computed once more there; where that matters, cluster the batches
by the leading field first, as the exchange in Spark does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from spark_llm.planner.solve import order_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from spark_llm.planner.row_order import RowOrder

CHUNK_BYTES: Final = 1 << 30


def order_stream(
    batches: Iterable[pa.RecordBatch], *, chunk_bytes: int = CHUNK_BYTES, **options: Any
) -> Iterator[tuple[pa.Table, RowOrder]]:
    """Yields tables of consecutive rows with their plans; `row_indices` count from the table's first row.

    Args:
        batches: rows of one schema; empty batches are passed over.
        chunk_bytes: a chunk ends with the batch that takes it to so many bytes of Arrow memory. Solving takes
            about as much again.
        options: of `order_table`.

    Raises:
        ValueError: as `order_table` does, with the first chunk.
    """
    waiting: list[pa.RecordBatch] = []
    held_bytes = 0
    for batch in batches:
        if not batch.num_rows:
            continue
        waiting.append(batch)
        held_bytes += batch.nbytes
        if held_bytes >= chunk_bytes:
            table, waiting, held_bytes = pa.Table.from_batches(waiting), [], 0
            yield table, order_table(table, **options)
    if waiting:
        table = pa.Table.from_batches(waiting)
        yield table, order_table(table, **options)
