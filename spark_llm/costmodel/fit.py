"""Fits a step-time model to what an engine was seen to do; may run beside the engine, step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spark_llm.costmodel.step_time import StepTime

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

# Columns of the regression: KV tokens, decode and draft tokens, prompt tokens, sequences, 1.
_DECODE, _PREFILL, _SEQUENCES = 1, 2, 3
_FEATURES = 5
_FEWEST = 8
# Less is no step of any engine.
_SHORTEST_S = 1e-9
# How many records the prior's difference of prompt tokens and others weighs.
_DIFFERENCE_RECORDS = 1.0
# A normal law has one record in two million beyond it.
_OUTLIER_SIGMAS = 5.0
# And what is late by less than this share of its own time is no hiccup.
_OUTLIER_SHARE = 0.5
_MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted model, and how far to trust it.

    Attributes:
        step_time: fitted on all records that were used.
        records: used.
        outliers: left out of it.
        r2_train: share of the variance explained, on four fifths of the records.
        r2_held_out: on the last fifth of each five, by a fit that has not seen them.
    """

    step_time: StepTime
    records: int
    outliers: int
    r2_train: float
    r2_held_out: float


class StepFit:
    """Least squares over a window of records, held by a prior where the records say nothing.

    Differs from the SmartSpec paper, which fits once and offline: the window forgets, so that the model
    follows an engine whose neighbours change. A recursive least squares with forgetting would do so with less
    memory, but diverges when all records look alike.

    The prior is taken as a shape: it is scaled to the records' median time first, so that a preset of another
    machine serves. Of prompt tokens it says how they differ from others. Coefficients of tokens and of
    an empty step are never negative; that of sequences may be, and `StepTime` keeps its sum above `base_s`.

    Args:
        prior: model to lean on.
        window: records that count.
        prior_records: how many records the prior weighs.
        skip: first records to leave out: they pay for compiling and warming up.
    """

    def __init__(self, prior: StepTime, window: int = 512, prior_records: float = 0.1, skip: int = 3) -> None:
        self._prior = _coefficients(prior)
        self._prior_records = prior_records
        self._ring = np.zeros((window, _FEATURES + 1))
        self._skip = skip
        self._seen = 0

    def add(
        self, kv_tokens: float, tokens: float, sequences: float, seconds: float, prefill_tokens: float = 0.0
    ) -> None:
        """Records a step, in the terms of `StepTime.predict`; one that computed nothing tells nothing."""
        if not (tokens > 0 and _SHORTEST_S < seconds < float("inf")):
            return
        if self._skip:
            self._skip -= 1
            return
        at = self._seen % len(self._ring)
        self._ring[at] = (kv_tokens, tokens - prefill_tokens, prefill_tokens, sequences, 1.0, seconds)
        self._seen += 1

    @property
    def records(self) -> int:
        """In the window."""
        return min(self._seen, len(self._ring))

    def fit(self) -> Fit | None:
        """The model of the window; None while there are too few records for one."""
        if self.records < _FEWEST:
            return None
        # Oldest first, so that the held-out fifth is spread over the window.
        order = np.roll(self._ring, -(self._seen % len(self._ring)), axis=0)[-self.records :]
        features, seconds = order[:, :_FEATURES], order[:, _FEATURES]
        prior = self._prior * _speed(features, seconds, self._prior)
        typical_s = np.median(seconds)
        predicted = np.maximum(_times(features, self._solve(features, seconds, prior)), 1e-3 * typical_s)
        late = seconds - predicted
        late -= np.median(late)
        # A spread of its own is no sign of a hiccup where most steps are alike: the few that differ, and tell
        # most, would be left out.
        spread = _MAD_TO_SIGMA * np.median(np.abs(late))
        kept = late <= np.maximum(_OUTLIER_SIGMAS * spread, _OUTLIER_SHARE * predicted)
        features, seconds, weights = features[kept], seconds[kept], typical_s / predicted[kept][:, None]
        held = np.arange(len(seconds)) % 5 == 4
        train = self._weighed(features[~held], seconds[~held], prior, weights[~held])
        return Fit(
            step_time=_step_time(self._weighed(features, seconds, prior, weights)),
            records=int(kept.sum()),
            outliers=int((~kept).sum()),
            r2_train=r2(seconds[~held], _times(features[~held], train)),
            r2_held_out=r2(seconds[held], _times(features[held], train)),
        )

    def _weighed(self, features: Floats, seconds: Floats, prior: Floats, weights: Floats) -> Floats:
        """The solution for errors as a share of a step, so that long steps do not drown the others."""
        return self._solve(features * weights, seconds * weights[:, 0], prior)

    def _solve(self, features: Floats, seconds: Floats, prior: Floats) -> Floats:
        """Ridge towards the prior; whatever must not be negative and would be is fixed at 0, worst first."""
        scale = np.sqrt((features**2).mean(axis=0))
        scale[scale == 0] = 1.0
        penalty = self._prior_records * np.diag(scale**2)
        # Without drafts, the price of a decoded token cannot be told from that of a row; prompts are a better
        # sign of it than the prior.
        difference = np.zeros(_FEATURES)
        difference[[_DECODE, _PREFILL]] = (scale[_DECODE], -scale[_DECODE])
        penalty[_PREFILL] = penalty[:, _PREFILL] = 0.0
        penalty += _DIFFERENCE_RECORDS * np.outer(difference, difference)
        # In units of what each feature does to the time of a step, for the sake of the solver.
        normal = (features.T @ features + penalty) / np.outer(scale, scale)
        target = (features.T @ seconds + penalty @ prior) / scale
        free = np.ones(_FEATURES, dtype=bool)
        while True:
            solved = np.zeros(_FEATURES)
            solved[free] = np.linalg.solve(normal[np.ix_(free, free)], target[free])
            checked = np.where(np.arange(_FEATURES) == _SEQUENCES, 0.0, solved)
            if checked.min() >= 0:
                return np.asarray(solved / scale, dtype=np.float64)
            free[checked.argmin()] = False


def r2(measured: Floats, predicted: Floats) -> float:
    """Share of the variance explained; where there is none, 1 for a perfect prediction and 0 for others."""
    error = float(((measured - predicted) ** 2).sum())
    variance = float(((measured - measured.mean()) ** 2).sum()) if len(measured) else 0.0
    if variance <= 1e-12 * float((measured**2).sum()):
        return float(error <= 1e-6 * float((measured**2).sum()))
    return 1 - error / variance


def _coefficients(model: StepTime) -> Floats:
    prefill_token_s = model.token_s if model.prefill_token_s is None else model.prefill_token_s
    return np.array([model.kv_s, model.token_s, prefill_token_s, model.sequence_s, model.base_s])


def _step_time(coefficients: Floats) -> StepTime:
    kv_s, token_s, prefill_token_s, sequence_s, base_s = coefficients.tolist()
    return StepTime(kv_s, token_s, sequence_s, base_s, prefill_token_s)


def _times(features: Floats, coefficients: Floats) -> Floats:
    """Shape (records,): what `StepTime` predicts."""
    return np.asarray(np.maximum(coefficients[-1], features @ coefficients), dtype=np.float64)


def _speed(features: Floats, seconds: Floats, prior: Floats) -> float:
    """How much slower the records are than the prior."""
    predicted = np.maximum(_times(features, prior), 1e-12)
    return float(np.median(seconds / predicted))
