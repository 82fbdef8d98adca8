r"""A table as cells: every distinct cell once, as tokens of the prompt it appears in.

    column "city"   Oslo  Rome  Oslo  null      ids (n_rows, n_fields)   0 1 0 2    unique over all fields
    segments        head, tail, names when first, names when later, then one value per id

    head  Answer the instruction …\nIs it about food?\n       name first  {"city":     name later  , "city":
    value  "Oslo"                                             tail  }

A null cell is left out of the prompt with its name, as `llm()` does. Fields of a set share their ids.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from spark_llm.conf_entries import SYSTEM_PROMPT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spark_llm.analyze.tokenizer import TokenIds, Tokenizer

TAIL: Final = "}"


@dataclass(frozen=True, slots=True)
class Cells:
    """A chunk of a table, cut into cells.

    Attributes:
        fields: names, in written order.
        ids: int32 (n_rows, n_fields).
        texts: the value of each id as it stands in the prompt; ``null`` for a null.
        chars: int64 (n_ids,), characters of each value without its quotes.
        left_out: bool (n_ids,), nulls.
        segments: tokens of the head, the tail, each name when it comes first, each name when it comes later,
            and each value; see `spark_llm.analyze.blocks`.
    """

    fields: tuple[str, ...]
    ids: NDArray[np.int32]
    texts: list[str]
    chars: NDArray[np.int64]
    left_out: NDArray[np.bool_]
    segments: TokenIds

    @property
    def head_tokens(self) -> int:
        """Tokens of system message and instruction."""
        return int(self.segments.offsets[1])

    @property
    def tail_tokens(self) -> int:
        """Tokens after the last field."""
        return int(self.segments.offsets[2] - self.segments.offsets[1])

    @property
    def cell_tokens(self) -> NDArray[np.int64]:
        """Tokens of the cells in written order, with their names, int64 (n_rows, n_fields); 0 for nulls."""
        lengths, count = np.diff(self.segments.offsets), len(self.fields)
        values = np.where(self.left_out, 0, lengths[2 + 2 * count :])
        names = lengths[2 + count : 2 + 2 * count]
        found: NDArray[np.int64] = values[self.ids] + np.where(self.left_out[self.ids], 0, names[None, :])
        return found


def head_text(instruction: str) -> str:
    """Returns what every prompt of a call begins with; a chat template adds some tokens of its own."""
    return f"{SYSTEM_PROMPT}\n{instruction}\n"


def cut_into_cells(
    table: pa.Table, tokenizer: Tokenizer, head: str, sets: Sequence[Sequence[str]] = ()
) -> Cells:
    """Returns the cells of a table.

    Args:
        table: any Arrow types; nested values are compared by their JSON text.
        tokenizer: cuts the texts.
        head: the text before the first field.
        sets: groups of fields whose values may change places, by name.
    """
    fields = tuple(table.column_names)
    grouped = {name for group in sets for name in group}
    groups = [list(group) for group in sets] + [[name] for name in fields if name not in grouped]
    ids = np.zeros((table.num_rows, len(fields)), np.int32)
    texts: list[str] = []
    chars: list[NDArray[np.int64]] = []
    nulls: list[int] = []
    for group in groups:
        columns = [table.column(name) for name in group]
        codes, values, lengths = _distinct(columns)
        codes += len(texts)
        for nth, name in enumerate(group):
            ids[:, fields.index(name)] = codes[nth * table.num_rows : (nth + 1) * table.num_rows]
        nulls += [len(texts) + at for at, value in enumerate(values) if value is None]
        chars.append(np.array(lengths, np.int64))
        texts += ["null" if value is None else value for value in values]
    left_out = np.zeros(len(texts), np.bool_)
    left_out[nulls] = True
    names = [json.dumps(name, ensure_ascii=False) for name in fields]
    parts = [head, TAIL, *("{" + name + ":" for name in names), *(", " + name + ":" for name in names)]
    segments = tokenizer.encode([*parts, *(" " + text for text in texts)])
    return Cells(fields, ids, texts, np.concatenate([*chars, np.zeros(0, np.int64)]), left_out, segments)


def _distinct(columns: Sequence[pa.ChunkedArray]) -> tuple[NDArray[np.int32], list[str | None], list[int]]:
    """Returns codes of the columns one after the other, distinct values as JSON (None: null), lengths."""
    values_are_json = len({column.type for column in columns}) > 1
    if values_are_json:
        columns = [pa.chunked_array([pa.array(_json(column), pa.large_string())]) for column in columns]
    column = pa.chunked_array([chunk for column in columns for chunk in column.chunks], columns[0].type)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_nested(column.type) or pa.types.is_null(column.type) or _is_view(column.type):
        column = pa.chunked_array([pa.array(_json(column), pa.large_string())])
        values_are_json = True
    encoded = column.dictionary_encode(null_encoding="encode").combine_chunks()
    chunks = encoded.chunks if isinstance(encoded, pa.ChunkedArray) else [encoded]
    if not chunks:
        return np.zeros(0, np.int32), [], []
    values = chunks[0].dictionary
    codes = np.concatenate([np.asarray(chunk.indices, np.int32) for chunk in chunks])
    texts = values.to_pylist() if values_are_json else _json(values)
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        return codes, texts, [len(value or "") for value in values.to_pylist()]
    return codes, texts, [len(text or "") for text in texts]


def _is_view(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string_view(kind) or pa.types.is_binary_view(kind))


def _json(values: Any) -> list[str | None]:
    """Returns the values as the JSON of a prompt: texts in quotes, numbers bare; None for null."""

    def text(value: Any) -> str | None:
        return None if value is None else json.dumps(value, ensure_ascii=False, default=str)

    return [text(value) for value in values.to_pylist()]
