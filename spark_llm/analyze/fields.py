"""What each field holds: distinct values, tokens that repeat, fields it is fixed by.

a -> b   "a fixes b": no value of a goes with two values of b; once a has been sent, b is free
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spark_llm.analyze.cells import Cells

UNIQUE_SHARE: Final = 0.9
"""A field with more distinct values than this share of the rows is called unique per row."""
_MAX_FIXED_BY: Final = 3


@dataclass(slots=True)
class FieldReport:
    """One field of the table.

    Attributes:
        name: as in the table.
        rows: rows seen.
        nulls: of these, null.
        tokens: prompt tokens of its cells with its name.
        distinct: distinct values, null counted as one.
        repeated_tokens: tokens of all but the first cell of each distinct value: more can never be reused.
        reused_tokens: order name to tokens of this field found in the cache.
        fixed_by: fields that fix this one (a functional dependency), the coarsest first.
    """

    name: str
    rows: int = 0
    nulls: int = 0
    tokens: int = 0
    distinct: int = 0
    repeated_tokens: int = 0
    reused_tokens: dict[str, int] = field(default_factory=dict)
    fixed_by: list[str] = field(default_factory=list)

    @property
    def unique(self) -> bool:
        """Whether nearly every row has a value of its own."""
        return self.rows > 1 and self.distinct > UNIQUE_SHARE * self.rows


class FieldCounter:
    """Adds up chunks of a table; distinct values are told apart by a 64-bit hash of their text.

    Attributes:
        squared_total: sum of the squared characters of all cells.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self._reports = [FieldReport(name) for name in names]
        self._seen: list[set[int]] = [set() for _ in names]
        self._fixed: list[set[int]] | None = None
        self.squared_total = 0

    def add(self, cells: Cells) -> None:
        """Counts one chunk."""
        import pandas as pd

        keys = pd.util.hash_array(np.array(cells.texts, object), categorize=False)
        per_cell = cells.cell_tokens
        self.squared_total += int((cells.chars**2)[cells.ids].sum())
        for at, report in enumerate(self._reports):
            ids, first = np.unique(cells.ids[:, at], return_index=True)
            report.rows += len(cells.ids)
            report.nulls += int(cells.left_out[cells.ids[:, at]].sum())
            report.tokens += int(per_cell[:, at].sum())
            new = [key not in self._seen[at] for key in keys[ids].tolist()]
            self._seen[at].update(keys[ids].tolist())
            report.repeated_tokens += int(per_cell[:, at].sum() - per_cell[first[new], at].sum())
        found = dependencies(cells.ids)
        pairs = [{by for by, of in found if of == at} for at in range(len(self._reports))]
        self._fixed = (
            pairs if self._fixed is None else [a & b for a, b in zip(self._fixed, pairs, strict=True)]
        )

    def add_reused(self, order: str, tokens: NDArray[np.int64]) -> None:
        """Adds tokens found in the cache, int64 (n_fields,), for one order."""
        for report, count in zip(self._reports, tokens.tolist(), strict=True):
            report.reused_tokens[order] = report.reused_tokens.get(order, 0) + count

    def reports(self) -> list[FieldReport]:
        """Returns the fields in written order."""
        for at, report in enumerate(self._reports):
            report.distinct = len(self._seen[at])
            by = sorted((self._fixed or [])[at] if self._fixed else (), key=lambda i: len(self._seen[i]))
            report.fixed_by = [self._reports[i].name for i in by[:_MAX_FIXED_BY]]
        return self._reports


def dependencies(ids: NDArray[np.int32]) -> list[tuple[int, int]]:
    """Returns pairs (a, b) of fields where a fixes b.

    Trivial ones are left out: a unique in nearly every row, or b the same in all of them.

    Args:
        ids: int32 (n_rows, n_fields), ids of cells.
    """
    rows, fields = ids.shape
    columns: list[Any] = []
    for at in range(fields):
        _, first, codes = np.unique(ids[:, at], return_index=True, return_inverse=True)
        columns.append((len(first), first, codes))
    found = []
    for a, (size_a, first, codes) in enumerate(columns):
        if not 1 < size_a <= UNIQUE_SHARE * rows:
            continue
        for b, (size_b, _, _) in enumerate(columns):
            if a == b or not 1 < size_b <= size_a:
                continue
            column = ids[:, b]
            # most pairs are told apart by their first rows
            head = slice(0, 1000)
            if (column[first[codes[head]]] == column[head]).all() and (column[first[codes]] == column).all():
                found.append((a, b))
    return found


def reused_by_field(
    level_tokens: NDArray[np.int64], reused: NDArray[np.int64], head_tokens: int, fields: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Returns how many tokens of each field were found in the cache, int64 (n_fields,).

    Args:
        level_tokens: int64 (n_requests, n_fields), tokens of the cells in prompt order.
        reused: int64 (n_requests,), leading tokens found.
        head_tokens: tokens before the first field.
        fields: int64 (n_requests, n_fields), the field at each place.
    """
    taken = reused_by_level(level_tokens, reused, head_tokens)
    return np.bincount(fields.ravel(), taken.ravel(), minlength=fields.shape[1]).astype(np.int64)


def reused_by_level(
    level_tokens: NDArray[np.int64], reused: NDArray[np.int64], head_tokens: int
) -> NDArray[np.int64]:
    """Returns how many tokens of each cell were found in the cache, int64 (n_requests, n_fields)."""
    begins = np.cumsum(level_tokens, axis=1) - level_tokens + head_tokens
    found: NDArray[np.int64] = np.clip(reused[:, None] - begins, 0, level_tokens)
    return found
