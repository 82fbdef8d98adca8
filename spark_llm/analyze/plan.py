"""The plan on disk: what to ask in which order, for whoever sends the requests.

--plan PLAN.parquet     row (int64), fields (list of text): one record per request, in execution order
--table OUT.parquet     the rows in written order with the cells of sets at the places the plan gives them
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from spark_llm.analyze.orders import Requests, first_of_each, row_keys
from spark_llm.errors import SparkLLMError

if TYPE_CHECKING:
    from types import TracebackType

    from spark_llm.analyze.analysis import PlannedChunk


class PlanWriter:
    """Writes plan and table chunk by chunk; a context manager.

    Args:
        plan: where the plan goes, or None.
        table: where the table goes, or None.
        distinct: write only the first of equal rows to the plan.
    """

    def __init__(self, plan: Path | None, table: Path | None, *, distinct: bool) -> None:
        self._paths = {"plan": plan, "table": table}
        self._distinct = distinct
        self._writers: dict[str, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for writer in self._writers.values():
            writer.close()

    def add(self, chunk: PlannedChunk) -> None:
        """Writes one chunk.

        Raises:
            SparkLLMError: LLM_FILE_NOT_WRITTEN.
        """
        if self._paths["plan"] is not None:
            requests = chunk.requests.without_duplicates(chunk.ids) if self._distinct else chunk.requests
            self._write("plan", plan_table(requests, chunk.table.column_names, chunk.first_row))
        if self._paths["table"] is not None:
            self._write("table", moved(chunk))

    def _write(self, name: str, table: pa.Table) -> None:
        path = self._paths[name]
        try:
            if name not in self._writers:
                self._writers[name] = pq.ParquetWriter(path, table.schema)
            self._writers[name].write_table(table)
        except OSError as error:
            raise SparkLLMError("LLM_FILE_NOT_WRITTEN", file=path, reason=error.strerror or error) from error


def plan_table(requests: Requests, fields: list[str], first_row: int = 0) -> pa.Table:
    """Returns ``row`` and ``fields`` in execution order."""
    places = requests.orders[requests.order_index].ravel()
    names = pa.DictionaryArray.from_arrays(pa.array(places, pa.int32()), pa.array(fields, pa.string()))
    offsets = np.arange(len(requests.rows) + 1, dtype=np.int32) * len(fields)
    lists = pa.ListArray.from_arrays(pa.array(offsets), names.cast(pa.string()))
    return pa.table({"row": pa.array(requests.rows + first_row), "fields": lists})


def moved(chunk: PlannedChunk) -> pa.Table:
    """Returns the chunk in written order, each cell of a set under the name it is sent under."""
    requests, table = chunk.requests, chunk.table
    if requests.slots is None:
        return table
    slots = np.empty_like(requests.slots)
    slots[requests.rows] = requests.slots
    # equal rows are equal after the move too, so that one of them can answer for all
    first = first_of_each(chunk.ids)
    keys = row_keys(chunk.ids)
    ranked = first[np.argsort(keys[first])]
    slots = slots[ranked[np.searchsorted(keys[ranked], keys)]]
    columns = []
    for at in range(table.num_columns):
        sources = np.unique(slots[:, at])
        if len(sources) == 1 and sources[0] == at:
            columns.append(table.column(at))
            continue
        kind = table.column(at).type
        kinds = {table.column(int(source)).type for source in sources}
        parts = [table.column(int(source)) for source in sources]
        if len(kinds) > 1:
            kind = pa.string()
            parts = [part.cast(kind) for part in parts]
        joined = pa.chunked_array([c for part in parts for c in part.chunks], parts[0].type)
        rows = np.searchsorted(sources, slots[:, at]) * table.num_rows + np.arange(table.num_rows)
        columns.append(joined.take(pa.array(rows)))
    return pa.table(dict(zip(table.column_names, columns, strict=True)))
