"""Rows of the files: their keys, their age, and which of several with one key counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from spark_llm.cache.layout import Cache, CacheFile

if TYPE_CHECKING:
    from numpy.typing import NDArray

CREATED_AT: Final = "created_at"
CREATED_AT_TYPE: Final = pa.timestamp("us", "UTC")
KEY_BYTES: Final = 16
KEY_COLUMNS: Final = ("key", "key_high", "key_low")
UNREADABLE: Final = (pa.ArrowException, OSError, KeyError, ValueError)


def read(cache: Cache, file: CacheFile, names: Sequence[str] | None = None) -> pa.Table:
    """Returns rows of a file, `CREATED_AT` as `CREATED_AT_TYPE`.

    Args:
        cache: the folder.
        file: one of its files.
        names: columns; None for all, those that the file lacks are left out.

    Raises:
        FileNotFoundError: it is gone.
        pa.ArrowException, OSError, KeyError, ValueError: it cannot be read, or holds no answers.
    """
    with cache.filesystem.open_input_file(file.path) as source, pq.ParquetFile(source) as parquet:
        schema = parquet.schema_arrow
        chosen = None if names is None else [name for name in schema.names if name in names]
        table = parquet.read(columns=chosen)
    at = table.schema.get_field_index(CREATED_AT)
    if at < 0 or table.column(at).null_count:
        raise ValueError(f"no {CREATED_AT}")
    return table.set_column(
        at, pa.field(CREATED_AT, CREATED_AT_TYPE, schema.field(CREATED_AT).nullable),
        table.column(at).cast(CREATED_AT_TYPE),
    )  # fmt: skip


def columns(cache: Cache, file: CacheFile) -> str:
    """Returns names and types of a file's columns: files merge where they are equal."""
    with cache.filesystem.open_input_file(file.path) as source:
        return str(pq.read_schema(source).remove_metadata())


def first_line(error: Exception) -> str:
    """Returns why a file cannot be read, in one line."""
    return str(error).partition("\n")[0] or type(error).__name__


def keys(table: pa.Table) -> NDArray[np.uint64]:
    """Returns the keys as halves, uint64 (n_rows, 2), from a column ``key`` or ``key_high`` and ``key_low``.

    Raises:
        pa.ArrowException, KeyError, ValueError: the table has no keys of 16 bytes.
    """
    names = ["key"] if "key" in table.column_names else ["key_high", "key_low"]
    if any(table.column(name).null_count for name in names):
        raise ValueError("a key is NULL")
    if names == ["key"]:
        fixed = table.column("key").cast(pa.binary(KEY_BYTES)).combine_chunks()
        parts: list[Any] = [
            np.frombuffer(chunk.buffers()[1], np.uint64)[2 * chunk.offset : 2 * (chunk.offset + len(chunk))]
            for chunk in (fixed.chunks if isinstance(fixed, pa.ChunkedArray) else [fixed])
            if len(chunk)
        ]
        return np.concatenate([*parts, np.zeros(0, np.uint64)], dtype=np.uint64).reshape(-1, 2)
    halves = [table.column(name).cast(pa.int64()).to_numpy().view(np.uint64) for name in names]
    return np.stack(halves, axis=1)


def created_us(table: pa.Table) -> NDArray[np.int64]:
    """Returns when the rows were made, microseconds since 1970, int64 (n_rows,)."""
    found: NDArray[np.int64] = table.column(CREATED_AT).cast(pa.int64()).to_numpy()
    return found


def newest(halves: NDArray[np.uint64], created: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Returns bool (n_rows,), true for one row of each key: the newest, the last of equally new ones."""
    order = np.lexsort((created, halves[:, 1], halves[:, 0]))
    ranked = halves[order]
    last = np.ones(len(order), np.bool_)
    last[:-1] = (ranked[1:] != ranked[:-1]).any(axis=1)
    kept = np.zeros(len(order), np.bool_)
    kept[order[last]] = True
    return kept
