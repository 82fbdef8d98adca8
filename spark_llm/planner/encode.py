"""A table as numbers: every distinct cell gets an id, and every id a weight in prompt tokens.

    column "city"   Oslo  Rome  Oslo  null     ids  0 1 0 2   unique over all columns: equal ids = equal cells
    column "stars"  5     4     4     5             3 4 4 3   of the same field (or of the same set of fields)
    weights_tokens  tokens of `, "city": "Oslo"` …   one per id, counted once per distinct value

Fields of a set (see `order_table`) share their ids, so that one passage in two of them is one id.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spark_llm.planner.token_estimate import estimate_tokens, prefix_keys, text_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    CountTokens = Callable[[pa.Array], NDArray[np.integer[Any]]]

MARKS_TOKENS: Final = 4
"""Tokens of the quotes, the colon and the comma around a name and a value."""
_ROWS_FOR_THREADS: Final = 50_000
_THREADS: Final = 2


@dataclass(frozen=True, slots=True)
class Encoded:
    """A table as numbers.

    Attributes:
        ids: int32 (n_rows, n_fields); equal ids are equal cells.
        weights_tokens: float64 (n_ids,); tokens of a cell with its name, quotes and separators.
        sort_keys: uint64 (n_ids,); first bytes of the value, for ordering text inside a group.
        lengths_bytes: float64 (n_ids,); bytes of the value in UTF-8.
        distinct: int64 (n_fields,); distinct values per field, null counted as one.
        name_tokens: float64 (n_fields,); tokens of the part of a cell that does not depend on its value.
        row_tokens: float64 (n_rows,); tokens of all cells of a row.
    """

    ids: NDArray[np.int32]
    weights_tokens: NDArray[np.float64]
    sort_keys: NDArray[np.uint64]
    lengths_bytes: NDArray[np.float64]
    distinct: NDArray[np.int64]
    name_tokens: NDArray[np.float64]
    row_tokens: NDArray[np.float64]

    @property
    def total_tokens(self) -> float:
        """Tokens of all cells of the table, without instructions."""
        return float(self.row_tokens.sum())


@dataclass(frozen=True, slots=True)
class _Column:
    codes: NDArray[np.int32]
    tokens: NDArray[np.float64]
    keys: NDArray[np.uint64]
    lengths: NDArray[np.float64]


def encode(
    table: pa.Table, sets: Sequence[Sequence[int]], count_tokens: CountTokens | None, null_is_left_out: bool
) -> Encoded:
    """Returns the table as numbers.

    Args:
        table: any Arrow types; nested ones are compared by their JSON form.
        sets: positions of fields that share their ids, disjoint groups.
        count_tokens: tokens per text, exact; None for the estimate.
        null_is_left_out: a null cell has no tokens at all, as `llm()` prompts leave it out; else it is `""`.
    """
    names = [max(1, int(n)) for n in _count(pa.array(table.column_names, pa.string()), count_tokens)]
    groups: list[list[int]] = [list(group) for group in sets]
    in_set = {place for group in groups for place in group}
    groups += [[place] for place in range(table.num_columns) if place not in in_set]

    def one(group: list[int]) -> _Column:
        chunks = [chunk for place in group for chunk in table.column(place).chunks]
        kinds = {chunk.type for chunk in chunks}
        if len(kinds) > 1:
            chunks = [pa.array(_json_texts(chunk), pa.large_string()) for chunk in chunks]
        kind = chunks[0].type if chunks else table.column(group[0]).type
        return _encode_column(pa.chunked_array(chunks, kind), names[group[0]], count_tokens, null_is_left_out)

    rows, fields = table.num_rows, table.num_columns
    if rows >= _ROWS_FOR_THREADS and len(groups) > 1:
        # Hashing and counting run without the interpreter's lock.
        with ThreadPoolExecutor(_THREADS) as pool:
            columns = list(pool.map(one, groups))
    else:
        columns = [one(group) for group in groups]
    ids = np.empty((rows, fields), np.int32)
    distinct, row_tokens = np.zeros(fields, np.int64), np.zeros(rows)
    base = 0
    for group, column in zip(groups, columns, strict=True):
        for nth, place in enumerate(group):
            codes = column.codes[nth * rows : (nth + 1) * rows]
            np.add(codes, base, out=ids[:, place])
            row_tokens += column.tokens[codes]
            distinct[place] = len(column.tokens)
        base += len(column.tokens)
    return Encoded(
        ids,
        _joined([column.tokens for column in columns], np.float64),
        _joined([column.keys for column in columns], np.uint64),
        _joined([column.lengths for column in columns], np.float64),
        distinct,
        np.array([name + MARKS_TOKENS - 1 for name in names], np.float64),
        row_tokens,
    )


def _joined(parts: list[NDArray[Any]], kind: Any) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.zeros(0, kind)


def _encode_column(
    column: pa.ChunkedArray, name_tokens: int, count_tokens: CountTokens | None, null_is_left_out: bool
) -> _Column:
    codes, values = _dictionary(column)
    texts = _texts(values)
    tokens = _count(texts, count_tokens).astype(np.float64) + (name_tokens + MARKS_TOKENS)
    keys = prefix_keys(texts)
    lengths = text_bytes(texts).astype(np.float64)
    if codes.size and (missing := codes < 0).any():
        codes[missing] = len(tokens)
        tokens = np.append(tokens, 0.0 if null_is_left_out else float(name_tokens + MARKS_TOKENS))
        keys, lengths = np.append(keys, np.uint64(0)), np.append(lengths, 0.0)
    return _Column(codes, tokens, keys, lengths)


def _dictionary(column: pa.ChunkedArray) -> tuple[NDArray[np.int32], pa.Array]:
    """Returns int32 codes (rows,), -1 for null, and the distinct values."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_string_view(kind):
        column = column.cast(pa.large_string())
    try:
        encoded = column.dictionary_encode()
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        # Nested values: equal when their JSON is.
        texts = pa.array(_json_texts(column), pa.large_string())
        encoded = pa.chunked_array([texts]).dictionary_encode()
    chunks = encoded.chunks
    if not chunks:
        return np.zeros(0, np.int32), pa.array([], pa.string())
    parts = [
        np.asarray(pc.fill_null(chunk.indices, -1) if chunk.null_count else chunk.indices, np.int32)
        for chunk in chunks
    ]
    # np.asarray may show Arrow's own memory, which is read-only
    codes = np.concatenate(parts) if len(parts) > 1 else parts[0].copy()
    return codes, chunks[-1].dictionary


def _json_texts(values: Any) -> list[str | None]:
    def text(value: Any) -> str | None:
        return None if value is None else json.dumps(value, ensure_ascii=False, default=str)

    return [text(value) for value in values.to_pylist()]


def _texts(values: pa.Array) -> pa.Array:
    kind = values.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return values
    try:
        return values.cast(pa.large_string())
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        return pa.array([str(value) for value in values.to_pylist()], pa.large_string())


def _count(texts: pa.Array, count_tokens: CountTokens | None) -> NDArray[Any]:
    return estimate_tokens(texts) if count_tokens is None else np.asarray(count_tokens(texts))
