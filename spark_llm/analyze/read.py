"""Tables from disk, in chunks that fit in memory.

movies.parquet · folder of Parquet files · movies.csv
    │ pyarrow.dataset, only the chosen fields
    ▼
Source: name, fields, rows ──► chunks(): tables of whole batches, in file order
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.dataset as ds
from pyarrow import csv

from spark_llm.errors import SparkLLMError, listing, nearest_first

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CHUNK_BYTES: Final = 1 << 30
CHUNK_ROWS: Final = 1_000_000
CHUNK_CELLS: Final = 20_000_000
_CSV_SUFFIXES: Final = (".csv", ".csv.gz", ".tsv", ".tsv.gz")


@dataclass(frozen=True, slots=True)
class Source:
    """A table on disk.

    Attributes:
        path: where it is.
        fields: names of the chosen fields, in written order.
        rows: how many rows it has.
        dataset: pyarrow's view of it.
    """

    path: Path
    fields: tuple[str, ...]
    rows: int
    dataset: Any

    def chunks(self, chunk_rows: int | None = None, chunk_bytes: int = CHUNK_BYTES) -> Iterator[pa.Table]:
        """Yields the rows in order, at most ``chunk_rows`` or about ``chunk_bytes`` at a time.

        Without ``chunk_rows``, at most `CHUNK_ROWS` rows or `CHUNK_CELLS` cells.

        Raises:
            SparkLLMError: LLM_FILE_UNREADABLE when a later part of the file cannot be read.
        """
        if chunk_rows is None:
            chunk_rows = max(1, min(CHUNK_ROWS, CHUNK_CELLS // len(self.fields)))
        schema = pa.schema([self.dataset.schema.field(name) for name in self.fields])
        held: list[pa.RecordBatch] = []
        rows = size = 0
        try:
            for batch in self.dataset.to_batches(columns=list(self.fields)):
                rest = batch
                while rest.num_rows:
                    part = rest.slice(0, chunk_rows - rows)
                    rest = rest.slice(part.num_rows)
                    held.append(part)
                    rows += part.num_rows
                    size += part.nbytes
                    if rows >= chunk_rows or size >= chunk_bytes:
                        yield pa.Table.from_batches(held, schema)
                        held, rows, size = [], 0, 0
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(self.path, error) from error
        if held:
            yield pa.Table.from_batches(held, schema)


def open_table(path: Path, fields: Sequence[str] | None = None) -> Source:
    """Opens a table without reading its rows.

    Args:
        path: a Parquet file, a folder of Parquet files as Spark writes it, or a CSV file with a header.
        fields: names of the fields a call would get, in prompt order; None for all.

    Raises:
        SparkLLMError: LLM_FILE_NOT_FOUND, LLM_FILE_UNREADABLE, LLM_FIELD_NOT_FOUND or LLM_TABLE_EMPTY.
    """
    if not path.exists():
        raise SparkLLMError("LLM_FILE_NOT_FOUND", file=path)
    form: Any = "parquet"
    if path.name.endswith(_CSV_SUFFIXES):
        delimiter = "\t" if ".tsv" in path.suffixes else ","
        parse = csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
        form = ds.CsvFileFormat(
            parse_options=parse, convert_options=csv.ConvertOptions(strings_can_be_null=True)
        )
    try:
        dataset = ds.dataset(path, format=form, partitioning="hive" if path.is_dir() else None)
        rows = dataset.count_rows()
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, pa.ArrowInvalid) and "Empty CSV file" in str(error):
            raise SparkLLMError("LLM_TABLE_EMPTY", table=path, what="rows") from error
        raise _unreadable(path, error) from error
    known = dataset.schema.names
    chosen = tuple(known if fields is None else fields)
    check_fields(path, chosen, known)
    for what, count in (("fields", len(chosen)), ("rows", rows)):
        if not count:
            raise SparkLLMError("LLM_TABLE_EMPTY", table=path, what=what)
    return Source(path, chosen, rows, dataset)


def check_fields(path: Path, names: Sequence[str], known: Sequence[str]) -> None:
    """Refuses names that the table lacks.

    Raises:
        SparkLLMError: LLM_FIELD_NOT_FOUND, with the nearest name; LLM_INVALID_ARGUMENT for a name given
            twice.
    """
    for name in names:
        if name not in known:
            nearest = nearest_first(name, known)
            raise SparkLLMError(
                "LLM_FIELD_NOT_FOUND", table=path, field=name, nearest=nearest[0] if nearest else "(none)",
                known=listing(known),
            )  # fmt: skip
    for name in names:
        if names.count(name) > 1:
            raise SparkLLMError(
                "LLM_INVALID_ARGUMENT", argument="field", value=name, expected="each field once"
            )


def _unreadable(path: Path, error: Exception) -> SparkLLMError:
    first_line = next(iter(str(error).splitlines()), type(error).__name__)
    return SparkLLMError("LLM_FILE_UNREADABLE", file=path, reason=first_line)
