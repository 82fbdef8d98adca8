"""One field order for all rows, and the rows sorted by it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spark_llm.planner.reduce_fields import Reduced


_LARGE_ROWS: Final = 200_000


def by_statistics(reduced: Reduced) -> list[int]:
    """Returns reduced fields by mean tokens times repeats per value (the paper's section 4.2.2)."""
    rows, fields = reduced.ids.shape
    tokens = reduced.weights_tokens[reduced.ids].mean(axis=0)
    worth = tokens * (rows / reduced.distinct - 1)
    return sorted(range(fields), key=lambda field: (-worth[field], field))


def sort_rows(ids: NDArray[np.int32], order: Sequence[int]) -> NDArray[np.int32]:
    """Returns the rows sorted by the fields in `order`, int32 (n_rows,)."""
    rows, product, keys = len(ids), 1.0, []
    for field in order:
        keys.append(ids[:, field])
        if rows > _LARGE_ROWS:
            product *= max(1, len(np.unique(ids[:4096, field])))
            if product > float(rows) ** 2 and len(keys) > 2:
                break  # rows equal in all of these are equal in what is left, or as good as
    return np.lexsort(keys[::-1]).astype(np.int32) if keys else np.arange(rows, dtype=np.int32)
