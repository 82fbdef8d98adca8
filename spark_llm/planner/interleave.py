"""Requests in flight: for an engine that cannot share among requests it is answering at the same time.

A plan sorted by prefix is the worst one there: neighbours share most, and run together. So the plan is cut
into equal runs, and these are served in turn:

    plan      a1 a2 a3 a4 a5 a6 │ b1 b2 b3 b4 b5 b6 │ c1 …
    served    a1 b1 c1 a2 b2 c2 a3 …                       a2 comes three requests after a1

With about twice as many runs as requests in flight nearly all comes back, as long as so many prefixes fit the
cache.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from spark_llm.planner.row_order import RowOrder

RUNS_PER_REQUEST_IN_FLIGHT: Final = 2


def interleaved(order: RowOrder, in_flight: int) -> RowOrder:
    """Returns the same requests, served in turn from `RUNS_PER_REQUEST_IN_FLIGHT * in_flight` runs."""
    rows = len(order.row_indices)
    runs = min(RUNS_PER_REQUEST_IN_FLIGHT * in_flight, max(1, rows // 2))
    length = -(-rows // runs)
    grid = np.arange(runs * length).reshape(runs, length).T.reshape(-1)
    return order.with_positions(grid[grid < rows])
