"""Scores a plan the way a paged engine's prefix cache would, whatever made the plan.

    prompt   55 tokens of system message and question, then {"field": "value", …} with every value as text
    hit      share of the prompt tokens in full 16-token blocks found in a block-hash cache (LRU or unlimited)

The same measure and the same tokenizer rules as in the project's measurements; nulls stand in the prompt as
"".
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa

from spark_llm.analyze.blocks import prompt_blocks
from spark_llm.analyze.cache import reused_tokens
from spark_llm.analyze.cells import Cells, cut_into_cells
from spark_llm.analyze.orders import Requests, as_written, from_plan
from spark_llm.analyze.squares import squared_length
from spark_llm.analyze.tokenizer import TokenIds

HEAD_TOKENS: Final = 55
CACHE_TOKENS: Final = 40_000
BLOCK_TOKENS: Final = 16
_RUN: Final = re.compile(r" ?(?:[^\W\d_]+|[^\w\s]+)|\d{1,3}|_+|\s+")


class RuleTokenizer:
    """The rules of `spark_llm.planner.token_estimate` on characters instead of bytes, in plain Python.

    A word is cut every 8 letters (10 with the blank before it), digits every 3, marks every 4 (10 after one),
    and white space is one token; every distinct piece has an id of its own.
    """

    note = "by rules"

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}

    def encode(self, texts: list[str]) -> TokenIds:
        """Returns the tokens of each text."""
        return _joined([self._one(text) for text in texts])

    def _one(self, text: str) -> list[int]:
        found = []
        for run in _RUN.findall(text):
            step = 10 if run[0] == " " else 8 if run[0].isalpha() else 4
            found += [
                self._ids.setdefault(run[at : at + step], len(self._ids)) for at in range(0, len(run), step)
            ]
        return found


def _joined(lists: list[list[int]]) -> TokenIds:
    offsets = np.zeros(len(lists) + 1, np.int64)
    np.cumsum([len(ids) for ids in lists], out=offsets[1:])
    return TokenIds(np.fromiter((token for ids in lists for token in ids), np.uint32, offsets[-1]), offsets)


class ListTokenizer:
    """A tokenizer with ids as lists: ``PY_FILE:NAME``, made by ``load(NAME)`` of that file."""

    def __init__(self, spec: str) -> None:
        path, name = spec.rsplit(":", 1)
        found = importlib.util.spec_from_file_location("benchmark_tokenizer", path)
        module = importlib.util.module_from_spec(found)
        found.loader.exec_module(module)
        self._encoding = module.load(name)
        self.note = f"exact, {name}"

    def encode(self, texts: list[str]) -> TokenIds:
        """Returns the tokens of each text."""
        return _joined([self._encoding.encode(text, disallowed_special=()) for text in texts])

    def count(self, texts: pa.Array) -> np.ndarray:
        """Returns tokens per text, for the solver."""
        return np.diff(self.encode([text or "" for text in texts.to_pylist()]).offsets)


def as_text(path: Path) -> pa.Table:
    """Returns a Parquet file with every cell as text, nulls and NaN as the empty one."""
    frame = pd.read_parquet(path)

    def text(value: Any) -> str:
        missing = value is None or value is pd.NA or value is pd.NaT
        return "" if missing or (isinstance(value, float) and value != value) else str(value)  # noqa: PLR0124  NaN

    columns = {
        name: pa.array([text(v) for v in frame[name].astype(object)], pa.large_string()) for name in frame
    }
    return pa.table(columns)


class Scorer:
    """Scores orders of one table.

    Args:
        table: every cell as text.
        tokenizer: cuts texts into tokens; None for the rules.
        sets: groups of interchangeable fields, by name.
    """

    def __init__(
        self, table: pa.Table, tokenizer: Any = None, sets: tuple[tuple[str, ...], ...] = ()
    ) -> None:
        head = " a" * HEAD_TOKENS
        self.cells: Cells = cut_into_cells(table, tokenizer or RuleTokenizer(), head, sets)
        self._squares = int((self.cells.chars**2)[self.cells.ids].sum())

    def written(self) -> Requests:
        """Returns the order as written."""
        return as_written(*self.cells.ids.shape)

    def planned(self, order: Any) -> Requests:
        """Returns the requests of a `RowOrder`."""
        return from_plan(order)

    def listed(self, plan: list[tuple[int, list[str]]]) -> Requests:
        """Returns the requests of a list of (row, field names)."""
        places = {name: at for at, name in enumerate(self.cells.fields)}
        seen: dict[tuple[str, ...], int] = {}
        index = [seen.setdefault(tuple(names), len(seen)) for _, names in plan]
        orders = np.array([[places[name] for name in names] for names in seen], np.int64)
        return Requests(np.array([row for row, _ in plan], np.int64), orders, np.array(index, np.int64))

    def score(self, requests: Requests, in_flight: int = 0) -> dict[str, float]:
        """Returns tokens to compute, hit rates, squared-length share and share of cell tokens reused."""
        blocks = prompt_blocks(self.cells, requests, BLOCK_TOKENS)
        total = int(blocks.prompt_tokens.sum())
        hit = int(reused_tokens(blocks, CACHE_TOKENS, in_flight).sum())
        unlimited = int(reused_tokens(blocks, 0, in_flight).sum())
        return {
            "prompt_tokens": total,
            "compute_tokens": total - hit,
            "hit_share": hit / total,
            "hit_share_unlimited": unlimited / total,
            "squared_share": squared_length(self.cells, requests) / max(self._squares, 1),
            "cell_share": self._cell_share(requests),
        }

    def _cell_share(self, requests: Requests) -> float:
        places = requests.orders[requests.order_index]
        columns = places if requests.slots is None else np.take_along_axis(requests.slots, places, axis=1)
        ids = self.cells.ids[requests.rows[:, None], columns]
        tokens = self.cells.cell_tokens[requests.rows[:, None], columns]
        equal = np.logical_and.accumulate((ids[1:] == ids[:-1]) & (places[1:] == places[:-1]), axis=1)
        return float((tokens[1:] * equal).sum() / max(tokens.sum(), 1))
