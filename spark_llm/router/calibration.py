"""From scores to chances that mean what they say: temperature, Platt, isotonic; and how far off they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt

from spark_llm.router.logistic import fit_logistic, sigmoid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Method = Literal["none", "temperature", "platt", "isotonic"]

BINS: Final = 10
FEWEST_ISOTONIC: Final = 500
TEMPERATURES: Final = np.exp(np.linspace(np.log(0.02), np.log(20.0), 400))


@dataclass(frozen=True, slots=True)
class Calibrator:
    """A monotone map from logits to chances.

    Attributes:
        method: `none` is the logistic function; `temperature` divides the logit; `platt` also shifts it;
            `isotonic` steps from chance to chance.
        slope: of the logit.
        shift: of the logit.
        at: logits where isotonic steps are, ascending.
        value: chances there.
    """

    method: Method = "none"
    slope: float = 1.0
    shift: float = 0.0
    at: tuple[float, ...] = ()
    value: tuple[float, ...] = ()

    def apply(self, logits: Floats) -> Floats:
        """Chances, of the logits' shape."""
        if self.method == "isotonic":
            return np.asarray(np.interp(logits, self.at, self.value))
        return sigmoid(self.slope * logits + self.shift)

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {
            "method": self.method,
            "slope": self.slope,
            "shift": self.shift,
            "at": list(self.at),
            "value": list(self.value),
        }

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Calibrator:
        """From `to_dict`."""
        numbers = {key: tuple(float(v) for v in entry[key]) for key in ("at", "value")}
        return cls(
            entry["method"], float(entry["slope"]), float(entry["shift"]), numbers["at"], numbers["value"]
        )


def fit_calibrator(logits: Floats, y: Floats, method: Method) -> Calibrator:
    """Fits to logits of rows that the scores were not fitted to.

    Platt's targets are smoothed as he does (rows of an outcome plus one, over plus two); a slope that is not
    positive says that scores are worthless, and leaves the base rate.

    Args:
        logits: shape (rows,).
        y: outcomes between 0 and 1, shape (rows,).
        method: `isotonic` becomes `platt` below 500 rows, which would be too few for steps.
    """
    if method == "none" or not len(y):
        return Calibrator()
    if method == "isotonic" and len(y) >= FEWEST_ISOTONIC:
        at, value = _isotonic(logits, y)
        return Calibrator("isotonic", 1.0, 0.0, tuple(at.tolist()), tuple(value.tolist()))
    if method == "temperature":
        losses = [log_loss(sigmoid(logits / t), y) for t in TEMPERATURES]
        return Calibrator("temperature", 1.0 / float(TEMPERATURES[int(np.argmin(losses))]), 0.0)
    positive, negative = float(y.sum()), float(len(y) - y.sum())
    smooth = y * (positive + 1) / (positive + 2) + (1 - y) / (negative + 2)
    scale = float(np.std(logits)) or 1.0
    slope, shift = fit_logistic((logits / scale)[:, None], smooth, ridge=1e-3)
    if slope[0] <= 0:
        _, base = fit_logistic(np.zeros((len(y), 0)), y, ridge=1.0)
        return Calibrator("platt", 0.0, base)
    return Calibrator("platt", float(slope[0]) / scale, shift)


def _isotonic(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Pool adjacent violators; a block's value stands at its mean logit."""
    order = np.argsort(x, kind="stable")
    blocks: list[list[float]] = []  # sum of y, sum of x, rows
    for yi, xi in zip(y[order].tolist(), x[order].tolist(), strict=True):
        blocks.append([yi, xi, 1.0])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][2] >= blocks[-1][0] / blocks[-1][2]:
            last = blocks.pop()
            blocks[-1] = [a + b for a, b in zip(blocks[-1], last, strict=True)]
    array = np.array(blocks)
    return array[:, 1] / array[:, 2], array[:, 0] / array[:, 2]


def log_loss(p: Floats, y: Floats) -> float:
    """Mean negative log-likelihood, in nats."""
    held = np.clip(p, 1e-9, 1 - 1e-9)
    return float(-np.mean(y * np.log(held) + (1 - y) * np.log(1 - held)))


def ece(expected: Floats, seen: Floats, bins: int = BINS) -> float:
    """Expected calibration error over equally wide bins: mean distance of expected and seen (Guo 2017).

    Args:
        expected: chances, or gains between -1 and 1, shape (rows,).
        seen: outcomes on the same scale.
        bins: of the scale from 0 to 1, how many; with few rows in each, chance alone makes it larger than 0.
    """
    return float(sum(share * abs(e - s) for e, s, share in reliability(expected, seen, bins)))


def reliability(expected: Floats, seen: Floats, bins: int = BINS) -> list[tuple[float, float, float]]:
    """Mean of what was expected, of what was seen, and share of rows, for each bin: the calibration plot."""
    number = np.minimum(np.floor(expected * bins), bins - 1)
    parts = [np.flatnonzero(number == each) for each in np.unique(number)]
    return [
        (float(expected[part].mean()), float(seen[part].mean()), len(part) / len(expected)) for part in parts
    ]


def folds(rows: int, count: int, seed: int) -> Iterator[tuple[Ints, Ints]]:
    """Positions to fit to and to predict, for each of `count` parts of a shuffled range."""
    parts = np.array_split(np.random.default_rng(seed).permutation(rows), count)
    for at, held_out in enumerate(parts):
        yield np.concatenate([part for other, part in enumerate(parts) if other != at]), held_out


def auc(score: Floats, positive: Floats) -> float:
    """Area under the ROC curve: chance that a positive row scores higher; 0.5 where one kind is missing.

    Args:
        score: shape (rows,).
        positive: weights between 0 and 1; a row counts as positive by that much and as negative by the rest.
    """
    values, index = np.unique(score, return_inverse=True)
    pos = np.bincount(index, positive, len(values))
    neg = np.bincount(index, 1 - positive, len(values))
    if pos.sum() <= 0 or neg.sum() <= 0:
        return 0.5
    below = np.cumsum(neg) - neg
    return float((pos * (below + neg / 2)).sum() / (pos.sum() * neg.sum()))
