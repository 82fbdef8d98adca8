"""How likely drafts are to be right, per row and position, from what was accepted so far."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spark_llm.smartspec.policy import Ints, StepResult

Floats = npt.NDArray[np.float64]
Chances = npt.NDArray[np.floating[Any]]

DEFAULT: Final = 0.7
"""Acceptance before anything was seen, as in the published code."""

_LOWEST, _HIGHEST = 0.01, 0.99
_KEEP = 0.85
_MEMORY_TRIALS = 24.0
_ROW_MEMORY_TRIALS = 32.0
_ROW_FORGETS = 0.97
_POSITION_PRIOR_TRIALS = 8.0
_ROW_PRIOR_TRIALS = 12.0
_START_TRIALS = 16.0
_NOTHING = np.zeros(1, np.float32)


class Acceptance:
    """Acceptance by position over all rows, and how much better or worse than that each row is.

    A draft token is a trial when all before it were accepted, so that `accepts / trials` is
    `accepts / (accepts + first rejections)`: unbiased for any draft length, where accepted over drafted falls
    with the length. Counts fade with use: over steps as the published moving average does (0.85), slower where
    a step has few trials, so that an estimate always rests on some 24 of them.

    * Over all rows: a position leans on the one before it, times what the prior says of the two: the geometric
      model where nothing is known. The first leans on the prior, or `DEFAULT`.
    * A row: one exponent. Its acceptance at a position is the common one to that power, so that its survival
      is the common survival to that power. Rows that were not drafted for drift back to 1, and are tried again.

    Differs from the paper, which keeps one acceptance for all rows and positions: prompts differ, and matches
    of a suffix tree get surer with their length.

    Attributes:
        positions: most draft tokens of a row.
        trials: trials seen in all.
    """

    def __init__(
        self, positions: int, prior: Sequence[float] = (), prior_trials: float = _START_TRIALS
    ) -> None:
        """Starts from a prior.

        Args:
            positions: most draft tokens of a row.
            prior: acceptance by position from an earlier run; its last one serves for all further ones.
            prior_trials: how many trials the prior is worth, at most 24.
        """
        self.positions = positions
        self.trials = 0
        start = [min(max(float(a), _LOWEST), _HIGHEST) for a in prior][:positions] or [DEFAULT]
        start += [start[-1]] * (positions - len(start))
        self._shape = [a / before for before, a in pairwise([1.0, *start])]
        weight = min(prior_trials, _MEMORY_TRIALS) if prior else 0.0
        self._trials = np.full(positions, weight)
        self._accepts = self._trials * np.array(start)
        self._since = 1
        self._row_trials = np.zeros(0)
        self._row_accepts = np.zeros(0)
        self._row_expected = np.zeros(0)
        self._exponent = np.ones(0, np.float32)
        self._refresh()

    @property
    def common(self) -> Floats:
        """Shape (positions,): acceptance at each position, given that all before it were accepted."""
        return self._common.copy()

    def survival(self, slots: Ints, forced: Ints | None = None) -> Chances:
        """How likely the draft of a row is right up to and with each position.

        Args:
            slots: shape (rows,).
            forced: shape (rows,): leading draft tokens that are sure; None for none.

        Returns:
            Shape (positions, rows), single precision: it is worked out in every step.
        """
        self._reserve(slots)
        exponent = self._exponent[slots]
        if forced is None:
            survival = self._log_survival * exponent
        else:
            sure = self._log_sure[np.minimum(forced, self.positions)]
            survival = np.minimum(self._log_survival - sure, 0.0) * exponent
        np.exp(survival, out=survival)
        return survival

    def observe(self, result: StepResult) -> None:
        """Counts a step; rows without drafts say nothing, forced tokens neither."""
        self._since += 1
        drafting = result.drafted > result.forced
        if not drafting.any():
            return
        self._reserve(result.slots)
        slots, first = result.slots[drafting], result.forced[drafting]
        # A forced token that was refused ends the row's draft before any trial.
        accepted = np.maximum(result.accepted[drafting], 0)
        tried = np.minimum(np.minimum(accepted + 1, result.drafted[drafting]), self.positions)
        tried = np.where(accepted < first, first, tried)
        accepted = np.clip(accepted, first, self.positions)
        trials, accepts = self._between(first, tried), self._between(first, accepted)
        self._count(trials, accepts)
        self._count_rows(slots, first, tried, accepted)
        if len(slots) < len(result.slots):
            self._forget(result.slots[~drafting])
        self._refresh()

    def release(self, slots: Ints) -> None:
        """Rows that finished; their slots start again from what holds for all rows."""
        self._reserve(slots)
        for counts in (self._row_trials, self._row_accepts, self._row_expected):
            counts[slots] = 0.0
        self._exponent[slots] = 1.0

    def _between(self, low: Ints, high: Ints) -> Floats:
        """Shape (positions,): rows whose `low < position <= high`, positions from 1."""
        size = self.positions + 1
        steps = np.bincount(np.minimum(low, self.positions), minlength=size) - np.bincount(
            np.minimum(high, self.positions), minlength=size
        )
        return np.cumsum(steps)[: self.positions].astype(np.float64)

    def _count(self, trials: Floats, accepts: Floats) -> None:
        most = float(trials.max())
        if most <= 0:
            return
        keep = max(_KEEP**self._since, 1.0 - most / _MEMORY_TRIALS)
        self._since = 0
        self._trials = self._trials * keep + trials
        self._accepts = self._accepts * keep + accepts
        self.trials += int(trials.sum())

    def _count_rows(self, slots: Ints, first: Ints, tried: Ints, accepted: Ints) -> None:
        expected = np.concatenate(([0.0], np.cumsum(self._common)))
        trials = (tried - first).astype(np.float64)
        keep = np.maximum(1.0 - trials / _ROW_MEMORY_TRIALS, 0.0)
        self._row_trials[slots] = self._row_trials[slots] * keep + trials
        self._row_accepts[slots] = self._row_accepts[slots] * keep + (accepted - first)
        self._row_expected[slots] = self._row_expected[slots] * keep + (expected[tried] - expected[first])
        self._set_exponent(slots)

    def _forget(self, slots: Ints) -> None:
        for counts in (self._row_trials, self._row_accepts, self._row_expected):
            counts[slots] *= _ROW_FORGETS
        self._set_exponent(slots)

    def _set_exponent(self, slots: Ints) -> None:
        like_all = _ROW_PRIOR_TRIALS * float(self._common[0])
        trials = self._row_trials[slots] + _ROW_PRIOR_TRIALS
        own = np.clip((self._row_accepts[slots] + like_all) / trials, _LOWEST, _HIGHEST)
        common = np.clip((self._row_expected[slots] + like_all) / trials, _LOWEST, _HIGHEST)
        self._exponent[slots] = np.log(own) / np.log(common)

    def _refresh(self) -> None:
        common, before = np.empty(self.positions), 1.0
        for at, (accepts, trials) in enumerate(
            zip(self._accepts.tolist(), self._trials.tolist(), strict=True)
        ):
            # The first position has no other to lean on, so a few trials should move it.
            weight = _POSITION_PRIOR_TRIALS if at else 1.0
            likely = min(before * self._shape[at], _HIGHEST)
            before = min(max((accepts + weight * likely) / (trials + weight), _LOWEST), _HIGHEST)
            common[at] = before
        self._common = common
        log_survival = np.cumsum(np.log(common)).astype(np.float32)
        self._log_survival = log_survival[:, None]
        self._log_sure = np.concatenate((_NOTHING, log_survival))

    def _reserve(self, slots: Ints) -> None:
        need = int(slots.max()) + 1 if len(slots) else 0
        have = len(self._exponent)
        if need <= have:
            return
        more = max(need, 2 * have, 64) - have
        self._row_trials = np.concatenate((self._row_trials, np.zeros(more)))
        self._row_accepts = np.concatenate((self._row_accepts, np.zeros(more)))
        self._row_expected = np.concatenate((self._row_expected, np.zeros(more)))
        self._exponent = np.concatenate((self._exponent, np.ones(more, np.float32)))
