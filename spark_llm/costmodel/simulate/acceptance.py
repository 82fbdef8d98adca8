"""Which drafts turn out right: acceptance per row, per position, over time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.float64]

# (row numbers, tokens each has generated, step number) -> shape (rows,): acceptance of the next drafts
Alphas = Callable[[Any, Any, int], Any]


class Acceptance:
    """Draft j of a row is right with probability `alpha(row)·positions[j]`, given those before it are.

    Args:
        alpha: shape (all rows,), or a function (rows, generated tokens, step) -> shape (rows,) for
            acceptance that drifts or alternates.
        drafts: most drafts at hand for any row.
        positions: shape (drafts,): factor per position; ones by default.
        forced: a function (rows, generated tokens) -> shape (rows,): leading drafts that a grammar forces,
            right with certainty.
    """

    def __init__(
        self,
        alpha: Floats | Alphas,
        drafts: int,
        positions: Floats | None = None,
        forced: Callable[[Ints, Ints], Ints] | None = None,
    ) -> None:
        if positions is not None and len(positions) != drafts:
            raise ValueError(f"{len(positions)} position factors for {drafts} drafts")
        self._alpha = alpha
        self.drafts = drafts
        self._positions = positions
        self._forced = forced

    def offer(self, rows: Ints, generated: Ints) -> tuple[Ints, Ints]:
        """Drafts at hand for each row, and how many of them are forced."""
        drafts = np.full(len(rows), self.drafts, dtype=np.int64)
        if self._forced is None:
            return drafts, np.zeros(len(rows), dtype=np.int64)
        return drafts, np.minimum(drafts, self._forced(rows, generated))

    def alphas(self, rows: Ints, generated: Ints, step: int) -> Floats:
        """Shape (rows,): acceptance as it is now."""
        if callable(self._alpha):
            return np.asarray(self._alpha(rows, generated, step), dtype=np.float64)
        return np.asarray(self._alpha[rows], dtype=np.float64)

    def survival(self, rows: Ints, generated: Ints, step: int) -> Floats:
        """Shape (rows, drafts): probability that the first 1, 2, … drafts of a row are all right."""
        alphas = self.alphas(rows, generated, step)[:, None]
        by_position = alphas * (np.ones(self.drafts) if self._positions is None else self._positions)
        if self._forced is not None:
            at = np.arange(self.drafts) - self.offer(rows, generated)[1][:, None]
            by_position = np.where(at < 0, 1.0, np.take_along_axis(by_position, np.maximum(at, 0), axis=1))
        return np.asarray(np.cumprod(by_position, axis=1), dtype=np.float64)

    def draw(self, rows: Ints, generated: Ints, step: int, drafted: Ints, rng: np.random.Generator) -> Ints:
        """Shape (rows,): leading drafts that are right, out of `drafted`."""
        uniform = rng.random(len(rows))
        if self._positions is not None or self._forced is not None:
            right = (self.survival(rows, generated, step) > uniform[:, None]).sum(axis=1)
            return np.asarray(np.minimum(drafted, right), dtype=np.int64)
        # Inverse of the geometric distribution; an alpha of 1 leaves every draft right, 0 none.
        alphas = np.maximum(1e-12, np.minimum(self.alphas(rows, generated, step), 1 - 1e-12))
        right = np.log(1 - uniform) / np.log(alphas)
        return np.asarray(np.minimum(drafted, right), dtype=np.int64)


def beta_alphas(rows: int, mean: float, seed: int, concentration: float = 20.0) -> Floats:
    """Shape (rows,): Beta(concentration·mean, concentration·(1 - mean)): rows differ, as texts do."""
    rng = np.random.default_rng(seed)
    return rng.beta(concentration * mean, concentration * (1 - mean), rows)


def drifting(before: Floats, after: Floats, at_step: int) -> Alphas:
    """Acceptance that changes once for all rows, at a step."""
    return lambda rows, _generated, step: (before if step < at_step else after)[rows]


def alternating(one: float, other: float, period_steps: int) -> Alphas:
    """Acceptance that changes for all rows every `period_steps`: what an adversary would choose."""
    return lambda rows, _generated, step: np.full(len(rows), (one, other)[step // period_steps % 2])
