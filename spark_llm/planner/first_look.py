"""Is there anything to share? Two looks that cost far less than solving.

Before a large table is encoded: no value seen twice among s sampled rows of n means, with 95 % confidence,
that a value has at most 3 * 2n / s^2 other rows like it on average (the birthday bound); s = 16 sqrt(n) puts
that at 2.3 %. After encoding: the tokens that distinct values save at most, exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

    from spark_llm.planner.encode import Encoded

LEAST_SHARE: Final = 0.01
"""Plans that could save less of the prompt than this are not worth another field order."""
_LARGE_ROWS: Final = 100_000


def nothing_repeats(table: pa.Table, seed: int) -> str:
    """Returns a reason when a sample of a large table has no repeated value in any field, else ""."""
    rows = table.num_rows
    if rows < _LARGE_ROWS:
        return ""
    sample = int(16 * np.sqrt(rows))
    places = np.sort(np.random.default_rng(seed).choice(rows, sample, replace=False))
    part = table.take(places)
    for name in part.column_names:
        try:
            distinct = part.column(name).combine_chunks().unique()
        except Exception:  # noqa: BLE001  a type without equality is looked at after encoding
            return ""
        if len(distinct) < sample:
            return ""
    return f"no value occurs twice among {sample:,} sampled rows"


def most_shareable(encoded: Encoded) -> float:
    """Returns the share of the cells' tokens that repeats within its field: no order can save more."""
    total = encoded.total_tokens
    return float(1 - encoded.weights_tokens.sum() / total) if total > 0 else 0.0
