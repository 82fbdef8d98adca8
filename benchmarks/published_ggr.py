"""The published solver, "greedy group recursion" of arXiv 2403.05821, written again from its description.

    table ──► columns with more than 70 % distinct values are set aside (appended at the end)
          ──► rows sorted by the fixed order, cut into halves until no piece has more than 2,000 rows
          ──► each piece by itself:  best value ─┬─► its rows: column first, recurse on the other columns
                                                 └─► the other rows: recurse
              until row depth 4, column depth 2 or a best hit count below 100,000: fixed order and a sort

    hit count of a value  = length² × (rows that have it − 1)
    fixed order           = columns by mean length² × (rows / distinct values − 1)

Plain Python on purpose: what is compared is the plan, and that a plain program takes its time. Dependencies
between columns, which the paper's authors give by hand, are not given. A value is matched within its own
column.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

Table = dict[str, list[str]]
Plan = list[tuple[int, list[str]]]

MAX_DISTINCT_SHARE: Final = 0.7
MAX_PIECE_ROWS: Final = 2000
MAX_ROW_DEPTH: Final = 4
MAX_COLUMN_DEPTH: Final = 2
MIN_HIT_COUNT: Final = 100_000


def solve(table: Table) -> Plan:
    """Returns (row, columns in prompt order) per request, in execution order.

    Args:
        table: column name to values as text, all of one length.
    """
    names = list(table)
    rows = list(range(len(table[names[0]]))) if names else []
    order = fixed_order(table, rows, names)
    aside = [name for name in order if len(set(table[name])) > MAX_DISTINCT_SHARE * max(len(rows), 1)]
    kept = [name for name in names if name not in aside]
    plan: Plan = []
    for piece in _pieces(_sorted(table, rows, order)):
        plan += [(row, columns + aside) for row, columns in _group(table, piece, kept, 0, 0)]
    return plan


def fixed_order(table: Table, rows: list[int], columns: list[str]) -> list[str]:
    """Returns the columns by mean squared length times repetition, the highest first."""

    def score(name: str) -> float:
        values = [table[name][row] for row in rows]
        mean = sum(len(value) ** 2 for value in values) / max(len(values), 1)
        return mean * (len(values) / max(len(set(values)), 1) - 1)

    return sorted(columns, key=score, reverse=True)


def _sorted(table: Table, rows: list[int], order: list[str]) -> list[int]:
    return sorted(rows, key=lambda row: [table[name][row] for name in order])


def _pieces(rows: list[int]) -> list[list[int]]:
    if len(rows) <= MAX_PIECE_ROWS:
        return [rows]
    middle = len(rows) // 2
    return _pieces(rows[:middle]) + _pieces(rows[middle:])


def _group(table: Table, rows: list[int], columns: list[str], row_depth: int, column_depth: int) -> Plan:
    if not rows or not columns:
        return [(row, list(columns)) for row in rows]
    best = _best_value(table, rows, columns)
    if row_depth >= MAX_ROW_DEPTH or column_depth >= MAX_COLUMN_DEPTH or best[0] < MIN_HIT_COUNT:
        order = fixed_order(table, rows, columns)
        return [(row, order) for row in _sorted(table, rows, order)]
    _, column, value = best
    inside = [row for row in rows if table[column][row] == value]
    outside = [row for row in rows if table[column][row] != value]
    others = [name for name in columns if name != column]
    grouped = _group(table, inside, others, row_depth, column_depth + 1)
    return [(row, [column, *order]) for row, order in grouped] + _group(
        table, outside, columns, row_depth + 1, column_depth
    )


def _best_value(table: Table, rows: list[int], columns: list[str]) -> tuple[int, str, str]:
    best = (-1, columns[0], "")
    for name in columns:
        values = table[name]
        for value, count in Counter(values[row] for row in rows).items():
            hits = len(value) ** 2 * (count - 1)
            if hits > best[0]:
                best = (hits, name, value)
    return best
