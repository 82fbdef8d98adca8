"""Expected gain and expected extra tokens of each row, learned from the pilot."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from spark_llm.router.budget import TOLERANCE, Budget, Stream, knapsack, worthwhile
from spark_llm.router.calibration import Calibrator, auc, ece, fit_calibrator, folds, reliability
from spark_llm.router.features import Features
from spark_llm.router.logistic import fit_logistic, sigmoid
from spark_llm.router.pilot import PilotOutcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spark_llm.router.signals import Signals

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

VERSION: Final = 1
RIDGE: Final = 3.0
"""Of the chance that the cheap arm is wrong."""
FIX_RIDGE: Final = 10.0
"""Of the chance that the costly arm helps: half of the pilot's rows say nothing about it."""
FOLDS: Final = 5
FEWEST_SCORED: Final = 20


@dataclass(frozen=True, slots=True)
class Expected:
    """What a router expects of rows.

    Attributes:
        gain: between -1 and 1, shape (rows,).
        extra_tokens: at least 0, shape (rows,).
        cheap_wrong: chance that the cheap arm's answer is wrong, shape (rows,).
    """

    gain: Floats
    extra_tokens: Floats
    cheap_wrong: Floats


@dataclass(frozen=True, slots=True)
class Quality:
    """How well the fit predicts pilot rows that it had not seen, in cross-validation.

    Attributes:
        rows: scored rows.
        auc: of the expected gain for rows that gain against all others; 0.5 is no better than chance.
        ece_before: calibration error of the cheap arm's chance to be wrong, ten bins, before calibration.
        ece_after: and after.
        ece_chance: what a perfect calibration would show with as many rows, by chance alone.
        routed_gain: mean gain over the pilot where only rows with an expected gain above 0 are escalated.
        plot: mean expected and seen chance to be wrong, and share of rows, for each bin.
    """

    rows: int
    auc: float
    ece_before: float
    ece_after: float
    ece_chance: float
    routed_gain: float
    plot: tuple[tuple[float, float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Linear:
    """A logit or log-count that is linear in the features."""

    coefficients: tuple[float, ...]
    intercept: float

    def apply(self, x: Floats) -> Floats:
        """Shape (rows,)."""
        return np.asarray(x @ np.array(self.coefficients, np.float64) + self.intercept)


@dataclass(frozen=True)
class Router:
    """Fitted to the pilot of a query shape.

    The expected gain is `P(cheap wrong)·P(costly right | cheap wrong) − P(cheap right)·P(costly wrong | cheap
    right)`: what makes the cheap arm fail is easy to see and has many examples in a pilot, what makes the
    costly one succeed has few, so it is held closer to a constant, and the last factor is one.

    Attributes:
        shape: fingerprint of the query's shape; a router is used for no other.
        features: which signals, and their scale.
        wrong: logit that the cheap arm is wrong.
        calibrator: of that logit.
        helped: logit that the costly arm is right where the cheap one is wrong.
        harmed: chance that the costly arm is wrong where the cheap one is right.
        tokens: logarithm of the extra tokens.
        tokens_factor: makes their mean that of the pilot.
        most_tokens: the most that a pilot row took.
        quality: in cross-validation.
        model: names of the arms, for the reader of the file.
    """

    shape: str
    features: Features
    wrong: Linear
    calibrator: Calibrator
    helped: Linear
    harmed: float
    tokens: Linear
    tokens_factor: float
    most_tokens: float
    quality: Quality
    model: str = ""

    @classmethod
    def fit(
        cls, signals: Signals, outcome: PilotOutcome, *, shape: str = "", model: str = "", seed: int = 0
    ) -> Router:
        """Fits to a pilot.

        The prompt's looks join the signals only where they predict better in cross-validation, by more than a
        standard error, or where nothing else is known.

        Args:
            signals: of the pilot's rows.
            outcome: of the same rows; those without a gain teach tokens only.
            shape: fingerprint of the query's shape.
            model: names of the arms.
            seed: of the folds.

        Raises:
            ValueError: signals and outcome differ in rows, or fewer than 20 rows have a gain.
        """
        if signals.rows != outcome.rows:
            raise ValueError(f"{signals.rows} rows of signals and {outcome.rows} of outcomes")
        scored = np.flatnonzero(outcome.scored)
        if len(scored) < FEWEST_SCORED:
            raise ValueError(f"{len(scored)} rows have a gain; a router needs {FEWEST_SCORED}")
        known, target = signals.take(scored), _targets(outcome, scored)
        features = Features.fit(known)
        held_out = _cross_validated(features.matrix(known), target, seed)
        if signals.prompts is not None:
            wider = Features.fit(known, text=True)
            with_text = _cross_validated(wider.matrix(known), target, seed)
            if not features.names or _better(with_text.logits, held_out.logits, target.wrong):
                features, held_out = wider, with_text
        x = features.matrix(known)
        fitted = _fit(x, target)
        calibrator = _calibrator(held_out.logits, target.wrong)
        all_x = features.matrix(signals)
        tokens, factor = _fit_tokens(all_x, outcome.extra_tokens)
        return cls(
            shape, features, fitted.wrong, calibrator, fitted.helped, fitted.harmed, tokens, factor,
            float(max(outcome.extra_tokens.max(), 1.0)), _quality(held_out, target, calibrator, seed), model,
        )  # fmt: skip

    def expected(self, signals: Signals) -> Expected:
        """Expected gain and tokens of rows with signals."""
        x = self.features.matrix(signals)
        wrong = self.calibrator.apply(self.wrong.apply(x))
        gain = wrong * sigmoid(self.helped.apply(x)) - (1 - wrong) * self.harmed
        tokens = (
            np.minimum(np.exp(np.minimum(self.tokens.apply(x), 50.0)), self.most_tokens) * self.tokens_factor
        )
        return Expected(gain, tokens, wrong)

    def choose(self, signals: Signals, budget: Budget | None = None, tolerance: float = TOLERANCE) -> Bools:
        """Rows that get the costly arm, where all rows of the query are known.

        Args:
            signals: of all rows.
            budget: None is no limit: then rows are taken until the others would gain less than `tolerance`
                together.
            tolerance: see `budget.worthwhile`.

        Returns:
            Shape (rows,). Rows whose expected gain is not above 0 are never among them.
        """
        expected = self.expected(signals)
        if budget is None or not budget.limited:
            return worthwhile(expected.gain, expected.extra_tokens, tolerance)
        most_rows = np.inf if budget.share is None else round(budget.share * signals.rows)
        return knapsack(expected.gain, expected.extra_tokens, budget.tokens(signals.rows), most_rows)

    def stream(self, budget: Budget | None = None, *, rows: int | None = None) -> Stream:
        """The same window by window, see `Stream`."""
        return Stream(self, budget or Budget(), rows=rows)

    def to_json(self) -> str:
        """As JSON, with the version."""
        return json.dumps(
            {
                "version": VERSION,
                "shape": self.shape,
                "model": self.model,
                "features": self.features.to_dict(),
                "wrong": _linear(self.wrong),
                "calibrator": self.calibrator.to_dict(),
                "helped": _linear(self.helped),
                "harmed": self.harmed,
                "tokens": _linear(self.tokens),
                "tokens_factor": self.tokens_factor,
                "most_tokens": self.most_tokens,
                "quality": {name: getattr(self.quality, name) for name in Quality.__slots__},
            },
            indent=1,
        )

    @classmethod
    def from_json(cls, text: str) -> Router:
        """From `to_json`.

        Raises:
            ValueError: not such a text, or of another version.
        """
        try:
            found = json.loads(text)
            if found["version"] != VERSION:
                raise ValueError(f"version {found['version']!r}, not {VERSION}")
            quality = found["quality"]
            plot = tuple((float(e), float(s), float(w)) for e, s, w in quality["plot"])
            return cls(
                str(found["shape"]), Features.from_dict(found["features"]), _to_linear(found["wrong"]),
                Calibrator.from_dict(found["calibrator"]), _to_linear(found["helped"]),
                float(found["harmed"]), _to_linear(found["tokens"]), float(found["tokens_factor"]),
                float(found["most_tokens"]),
                Quality(**{**quality, "plot": plot}), str(found["model"]),
            )  # fmt: skip
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"not a router: {error!r}") from error

    def for_shape(self, shape: str) -> Router:
        """The same under another fingerprint."""
        return replace(self, shape=shape)


@dataclass(frozen=True, slots=True)
class _Targets:
    wrong: Floats
    fixed: Floats
    gain: Floats


@dataclass(frozen=True, slots=True)
class _Fitted:
    wrong: Linear
    helped: Linear
    harmed: float


@dataclass(frozen=True, slots=True)
class _HeldOut:
    logits: Floats
    helped: Floats
    harmed: Floats


def _targets(outcome: PilotOutcome, rows: npt.NDArray[np.int64]) -> _Targets:
    gain = outcome.gains[rows]
    fixed = np.maximum(gain, 0.0) if outcome.fixed is None else outcome.fixed[rows]
    # Where nobody knows which arm was wrong, the rows that gained are the ones on which the cheap one was.
    wrong = fixed if outcome.cheap_wrong is None else np.maximum(outcome.cheap_wrong[rows], fixed)
    return _Targets(wrong, fixed, gain)


def _fit(x: Floats, target: _Targets) -> _Fitted:
    wrong = fit_logistic(x, target.wrong, ridge=RIDGE)
    share = np.divide(target.fixed, target.wrong, out=np.zeros_like(target.fixed), where=target.wrong > 0)
    helped = fit_logistic(x, share, ridge=FIX_RIDGE, weights=target.wrong)
    broken, right = float((target.fixed - target.gain).sum()), float((1 - target.wrong).sum())
    return _Fitted(
        Linear(tuple(wrong[0].tolist()), wrong[1]),
        Linear(tuple(helped[0].tolist()), helped[1]),
        min(max((broken + 0.5) / (right + 5.0), 0.0), 1.0),
    )


def _cross_validated(x: Floats, target: _Targets, seed: int) -> _HeldOut:
    logits, helped, harmed = (np.zeros(len(x)) for _ in range(3))
    for fit_to, held_out in folds(len(x), FOLDS, seed):
        fitted = _fit(x[fit_to], _Targets(target.wrong[fit_to], target.fixed[fit_to], target.gain[fit_to]))
        logits[held_out] = fitted.wrong.apply(x[held_out])
        helped[held_out] = sigmoid(fitted.helped.apply(x[held_out]))
        harmed[held_out] = fitted.harmed
    return _HeldOut(logits, helped, harmed)


def _better(one: Floats, other: Floats, y: Floats) -> bool:
    """Whether logits fit better than others, by more than a standard error of the paired difference."""
    # Loss of a row: log(1 + exp(z)) − y·z.
    difference = (np.logaddexp(0, other) - y * other) - (np.logaddexp(0, one) - y * one)
    return bool(difference.mean() > difference.std() / np.sqrt(len(y)))


def _calibrator(logits: Floats, y: Floats) -> Calibrator:
    """Platt's map where it fits better by more than a standard error: few features need none."""
    platt = fit_calibrator(logits, y, "platt")
    return platt if _better(platt.slope * logits + platt.shift, logits, y) else Calibrator()


def _quality(held_out: _HeldOut, target: _Targets, calibrator: Calibrator, seed: int) -> Quality:
    raw, chance = sigmoid(held_out.logits), calibrator.apply(held_out.logits)
    gain = chance * held_out.helped - (1 - chance) * held_out.harmed
    rng = np.random.default_rng(seed)
    by_chance = [ece(chance, (rng.random(len(chance)) < chance).astype(float)) for _ in range(20)]
    return Quality(
        len(gain), auc(gain, np.clip(target.fixed, 0, 1)), ece(raw, target.wrong), ece(chance, target.wrong),
        float(np.mean(by_chance)), float(np.where(gain > 0, target.gain, 0.0).mean()),
        tuple(reliability(chance, target.wrong)),
    )  # fmt: skip


def _fit_tokens(x: Floats, extra_tokens: Floats) -> tuple[Linear, float]:
    """Ridge regression of the logarithm, and the factor that makes the predicted mean the pilot's."""
    y = np.log(np.maximum(extra_tokens, 1.0))
    centred = x - x.mean(axis=0)
    penalty = np.eye(x.shape[1]) * max(0.1 * len(x), RIDGE)
    slope = np.linalg.solve(centred.T @ centred + penalty, centred.T @ (y - y.mean()))
    line = Linear(tuple(slope.tolist()), float(y.mean() - x.mean(axis=0) @ slope))
    predicted = np.minimum(np.exp(line.apply(x)), max(float(extra_tokens.max()), 1.0))
    return line, max(float(np.maximum(extra_tokens, 0.0).mean()), 1e-6) / float(predicted.mean())


def _linear(line: Linear) -> dict[str, Any]:
    return {"coefficients": list(line.coefficients), "intercept": line.intercept}


def _to_linear(entry: Mapping[str, Any]) -> Linear:
    return Linear(tuple(float(c) for c in entry["coefficients"]), float(entry["intercept"]))
