"""How likely drafts are to be right, per row and position, from what was accepted so far."""

from __future__ import annotations

import math
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


class Acceptance:
    """Acceptance by position over all rows, and how much better or worse than that each row is.

    A draft token is a trial when all before it were accepted, so that `accepts / trials` is
    `accepts / (accepts + first rejections)`: unbiased for any draft length, where accepted over drafted falls
    with the length. Counts fade with use: over steps as the published moving average does (0.85), slower
    where a step has few trials, so that an estimate always rests on some 24 of them.

    * Over all rows: a position leans on the one before it, times what the prior says of the two: the
      geometric model where nothing is known. The first leans on the prior, or `DEFAULT`.
    * A row: one exponent. Its acceptance at a position is the common one to that power, so that its survival
      is the common survival to that power. Rows that were not drafted for drift back to 1, and are tried
      again.

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
        # Of each row: trials, accepts, and the accepts that the common acceptance would have given.
        self._rows = np.zeros((3, 0))
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
        slots, drafted = result.slots, result.drafted
        if not (drafted > result.forced).any():
            return
        first = np.minimum(result.forced, self.positions)
        self._reserve(slots)
        # A forced token that was refused ends the row's draft before any trial.
        tried = np.minimum(np.minimum(result.accepted + 1, drafted), self.positions)
        tried, accepted = np.maximum(tried, first), np.maximum(result.accepted, first)
        np.minimum(accepted, tried, out=accepted)
        self._count(first, tried, accepted)
        self._count_rows(slots, first, tried, accepted)
        self._refresh()

    def release(self, slots: Ints) -> None:
        """Rows that finished; their slots start again from what holds for all rows."""
        self._reserve(slots)
        self._rows[:, slots] = 0.0
        self._exponent[slots] = 1.0

    def _count(self, first: Ints, tried: Ints, accepted: Ints) -> None:
        size = self.positions + 1
        ended = np.bincount(np.concatenate((tried, accepted + size)), minlength=2 * size).reshape(2, size)
        # At a position, from 1 on, are those that began before it less those that ended before it.
        trials, accepts = np.cumsum(np.bincount(first, minlength=size) - ended, axis=1)[:, :-1]
        most = int(trials.max())
        keep = max(_KEEP**self._since, 1.0 - most / _MEMORY_TRIALS)
        self._since = 0
        self._trials = self._trials * keep + trials
        self._accepts = self._accepts * keep + accepts
        self.trials += int(trials.sum())

    def _count_rows(self, slots: Ints, first: Ints, tried: Ints, accepted: Ints) -> None:
        counts = self._rows[:, slots]
        trials = tried - first
        counts *= np.where(trials > 0, 1.0 - trials / _ROW_MEMORY_TRIALS, _ROW_FORGETS)
        counts[0] += trials
        counts[1] += accepted - first
        counts[2] += self._expected[tried] - self._expected[first]
        self._rows[:, slots] = counts
        like_all = _ROW_PRIOR_TRIALS * float(self._common[0])
        shares = (counts[1:] + like_all) / (counts[0] + _ROW_PRIOR_TRIALS)
        own, common = np.log(np.minimum(np.maximum(shares, _LOWEST), _HIGHEST))
        self._exponent[slots] = own / common

    def _refresh(self) -> None:
        common, before = [], 1.0
        counts = zip(self._accepts.tolist(), self._trials.tolist(), self._shape, strict=True)
        for at, (accepts, trials, shape) in enumerate(counts):
            # The first position has no other to lean on, so a few trials should move it.
            weight = _POSITION_PRIOR_TRIALS if at else 1.0
            likely = min(before * shape, _HIGHEST)
            before = min(max((accepts + weight * likely) / (trials + weight), _LOWEST), _HIGHEST)
            common.append(before)
        self._common = np.array(common)
        self._expected = np.cumsum([0.0, *common])
        self._log_sure = np.cumsum([0.0, *map(math.log, common)]).astype(np.float32)
        self._log_survival = self._log_sure[1:, None]

    def _reserve(self, slots: Ints) -> None:
        need = int(slots.max()) + 1 if len(slots) else 0
        have = len(self._exponent)
        if need > have:
            more = max(need, 2 * have, 64) - have
            self._rows = np.concatenate((self._rows, np.zeros((3, more))), axis=1)
            self._exponent = np.concatenate((self._exponent, np.ones(more, np.float32)))
