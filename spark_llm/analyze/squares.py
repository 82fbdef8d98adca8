"""The published measure of an order: squared lengths of leading cells equal to the request before.

The "prefix hit count" of arXiv 2403.05821, section 3. It is reported for comparison and never optimised: on
tables with one long field it hardly tells good orders apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from spark_llm.analyze.cells import Cells
    from spark_llm.analyze.orders import Requests


def squared_length(cells: Cells, requests: Requests) -> int:
    """Returns the squared characters of leading cells that equal the request before, summed up."""
    places = requests.orders[requests.order_index]
    columns = places if requests.slots is None else np.take_along_axis(requests.slots, places, axis=1)
    ids = cells.ids[requests.rows[:, None], columns]
    equal = (ids[1:] == ids[:-1]) & (places[1:] == places[:-1])
    leading = np.logical_and.accumulate(equal, axis=1)
    return int(((cells.chars[ids[1:]] ** 2) * leading).sum())
