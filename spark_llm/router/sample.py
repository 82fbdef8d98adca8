"""Which rows the pilot asks: few, spread over lengths and answers, and the same ones each time."""

from __future__ import annotations

import math
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

Ints = npt.NDArray[np.int64]

SHARE: Final = 0.02
FEWEST, MOST = 50, 300
LENGTH_BINS: Final = 4


def pilot_size(rows: int) -> int:
    """Rows of the pilot: 2 %, at least 50 and at most 300, and never more than there are.

    Args:
        rows: distinct rows of the query.
    """
    return min(max(math.ceil(SHARE * rows), FEWEST), MOST, max(rows, 0))


def pilot_rows(
    keys: Sequence[str],
    size: int,
    *,
    lengths: Sequence[float] | None = None,
    answers: Sequence[str | None] | None = None,
) -> Ints:
    """Positions of the pilot's rows, ascending: of each stratum its share, the rows with the smallest hashes.

    A row's hash depends on its key alone, so that the same table gives the same pilot in whatever order it
    comes, and a longer one keeps most of it. Within a stratum every row has the same chance, and strata have
    the same shares as in the table: the plain mean over the pilot is unbiased up to rounding.

    Args:
        keys: text of each row, shape (rows,); rows are expected to be distinct.
        size: how many rows.
        lengths: of each row, in any unit; strata are its quarters.
        answers: of the cheap arm where it has answered; the most frequent ones make strata, the others share
            one.

    Returns:
        Shape (min(size, rows),).
    """
    rows = len(keys)
    hashes = np.array(
        [int.from_bytes(blake2b(k.encode("utf-8", "surrogatepass"), digest_size=8).digest()) for k in keys],
        dtype=np.uint64,
    )
    if size >= rows:
        return np.arange(rows)
    by_hash = np.argsort(hashes, kind="stable")
    strata = _strata(rows, lengths, answers)
    # Ordered by stratum, then by hash: every (rows / size)-th position gives each stratum its share.
    ordered = by_hash[np.argsort(strata[by_hash], kind="stable")]
    place = np.zeros(rows)
    place[ordered] = np.arange(rows)
    # Within a stratum the smallest hashes are taken, as many as there are steps of that size within it.
    steps = ((np.arange(size) + 0.5) * rows / size).astype(np.int64)
    of_step = strata[ordered][steps]
    taken = [
        ordered[np.searchsorted(strata[ordered], stratum) :][:count]
        for stratum, count in zip(*np.unique(of_step, return_counts=True), strict=True)
    ]
    return np.sort(np.concatenate(taken)) if taken else np.zeros(0, np.int64)


def _strata(rows: int, lengths: Sequence[float] | None, answers: Sequence[str | None] | None) -> Ints:
    """A number for each row; rows with the same one are one stratum."""
    strata = np.zeros(rows, np.int64)
    if answers is not None:
        known, of_row, counts = np.unique(
            [answer if answer is not None else "" for answer in answers],
            return_inverse=True,
            return_counts=True,
        )
        # Answers as frequent as a twentieth of the table; free text has none and stays in one stratum.
        frequent = np.flatnonzero(counts * 20 >= rows)
        number = np.zeros(len(known), np.int64)
        number[frequent] = np.arange(1, len(frequent) + 1)
        strata += number[of_row] * LENGTH_BINS
    if lengths is not None:
        values = np.asarray(lengths, dtype=np.float64)
        cuts = np.quantile(values, np.arange(1, LENGTH_BINS) / LENGTH_BINS)
        strata += np.searchsorted(cuts, values, side="left")
    return strata
