"""Where the recursions end: a group of rows gets its order."""

from __future__ import annotations

from typing import Any

from spark_llm.planner.kernel import kernel


@kernel
def emit(path: Any, placed: Any, open_fields: Any, low: Any, high: Any, orders: Any, fixed: Any) -> None:
    """Writes the same order for all rows of a group: the path, then what is left.

    Args:
        path: int16 (m + 1,); the group's fields so far; what is left is written behind them.
        placed: how many fields the path has.
        open_fields: bool (m,); fields that are left.
        low: the group's first row.
        high: one past its last.
        orders: int16 (n, m), written.
        fixed: int16 (n,), written: `placed`.
    """
    write = placed
    for field in range(len(open_fields)):
        if open_fields[field]:
            path[write] = field
            write += 1
    for at in range(low, high):
        orders[at] = path[:write]
        fixed[at] = placed
