"""Draft lengths that follow no measurement: none, one for all steps, and vLLM's table by batch size."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spark_llm.smartspec.policy import Ints, Step, StepResult


class Static:
    """The same draft length in every step; 0 is no speculation."""

    def __init__(self, k: int) -> None:
        self.k = k

    def draft_lengths(self, step: Step) -> Ints:
        """Shape (decoding rows,): k of each row."""
        return np.minimum(step.drafts, self.k)

    def observe(self, result: StepResult) -> None:
        """Learns nothing."""

    def release(self, slots: Ints) -> None:
        """Keeps nothing."""


class ByBatchSize:
    """A draft length by the number of decoding rows, as vLLM's `num_speculative_tokens_per_batch_size`.

    Args:
        table: `(first, last, k)`, both sizes included, ascending and without gaps from 1 on; larger batches
            get the last one's k.

    Raises:
        ValueError: the table is empty, has a gap or an overlap.
    """

    def __init__(self, table: Sequence[tuple[int, int, int]]) -> None:
        follows = [1, *(last + 1 for _, last, _ in table)]
        if not table or any(
            first != start or last < first for (first, last, _), start in zip(table, follows, strict=False)
        ):
            raise ValueError(f"batch sizes must follow each other from 1 on, without gaps: {list(table)}")
        self._firsts = [first for first, _, _ in table]
        self._k = [k for _, _, k in table]

    def draft_lengths(self, step: Step) -> Ints:
        """Shape (decoding rows,): k of each row."""
        if not len(step.slots):
            return np.zeros(0, np.int64)
        return np.minimum(step.drafts, self._k[bisect_right(self._firsts, len(step.slots)) - 1])

    def observe(self, result: StepResult) -> None:
        """Learns nothing."""

    def release(self, slots: Ints) -> None:
        """Keeps nothing."""
