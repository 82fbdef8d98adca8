"""Ridge logistic regression, small enough for numpy: routing needs no more on an executor.

scikit-learn's estimator takes no fractional targets, and a handful of coefficients is all that is kept.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

MOST_STEPS = 50
TINY = 1e-9


def sigmoid(logits: Floats) -> Floats:
    """Chance that belongs to a logit, of any shape."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)))


def logit(chance: float) -> float:
    """Logit of a chance, which is kept away from 0 and 1."""
    held = min(max(chance, TINY), 1.0 - TINY)
    return float(np.log(held / (1.0 - held)))


def fit_logistic(
    x: Floats, y: Floats, *, ridge: float, weights: Floats | None = None
) -> tuple[Floats, float]:
    """Coefficients by Newton's method; the intercept is free of the penalty, `0.5 · ridge · |coefficients|²`.

    Args:
        x: standardised, shape (rows, features); no features is a plain base rate.
        y: targets between 0 and 1, shape (rows,).
        ridge: strength, in rows' worth of log-likelihood; above 0.
        weights: of rows, at least 0.

    Returns:
        Coefficients of shape (features,), and the intercept. Half a row of each outcome is added to the base
        rate, so that a pilot without any of one has a finite intercept.
    """
    rows, features = x.shape
    w = np.ones(rows) if weights is None else weights
    design = np.column_stack([x, np.ones(rows)])
    penalty = np.diag([ridge] * features + [0.0])
    # Two half rows at the origin, one of each outcome.
    design = np.vstack([design, np.zeros((2, features + 1))])
    design[-2:, -1] = 1.0
    target, weight = np.concatenate([y, [0.0, 1.0]]), np.concatenate([w, [0.5, 0.5]])
    beta = np.zeros(features + 1)
    beta[-1] = logit(float(np.average(target, weights=weight)))
    for _ in range(MOST_STEPS):
        p = sigmoid(design @ beta)
        gradient = design.T @ (weight * (target - p)) - penalty @ beta
        curvature = (design * (weight * np.maximum(p * (1 - p), TINY))[:, None]).T @ design + penalty
        step = np.linalg.solve(curvature, gradient)
        # Where a line separates the rows Newton's step overshoots, and may end on the wrong side.
        shorter = min(1.0, 4.0 / max(float(np.abs(step).max()), TINY))
        before = _loss(design, target, weight, penalty, beta)
        while shorter > TINY and _loss(design, target, weight, penalty, beta + shorter * step) > before:
            shorter /= 2
        beta += shorter * step
        if float(np.abs(step).max()) < 1e-8:
            break
    return beta[:-1], float(beta[-1])


def _loss(design: Floats, target: Floats, weight: Floats, penalty: Floats, beta: Floats) -> float:
    """What `fit_logistic` makes small."""
    logits = design @ beta
    return float(weight @ (np.logaddexp(0.0, logits) - target * logits) + 0.5 * beta @ penalty @ beta)
