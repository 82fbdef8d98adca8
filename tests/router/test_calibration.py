"""Calibration: chances that mean what they say."""

import numpy as np
import pytest

from spark_llm.router.calibration import Calibrator, auc, ece, fit_calibrator, reliability
from spark_llm.router.logistic import fit_logistic, sigmoid


@pytest.fixture(scope="module")
def overconfident():
    rng = np.random.default_rng(0)
    true = rng.normal(size=20_000)
    y = (rng.random(len(true)) < sigmoid(true + 0.5)).astype(float)
    return 3 * true, y


@pytest.mark.parametrize(("method", "most"), [("platt", 0.03), ("isotonic", 0.03), ("temperature", 0.1)])
def test_calibration_lowers_the_error(overconfident, method, most):
    logits, y = overconfident
    half = len(y) // 2
    before = ece(sigmoid(logits[half:]), y[half:])
    after = ece(fit_calibrator(logits[:half], y[:half], method).apply(logits[half:]), y[half:])
    assert before > 0.11
    assert after < min(most, before)


def test_platt_finds_slope_and_shift(overconfident):
    found = fit_calibrator(*overconfident, "platt")
    assert (found.slope, found.shift) == (pytest.approx(1 / 3, abs=0.01), pytest.approx(0.5, abs=0.04))


def test_worthless_scores_leave_the_base_rate():
    y = np.array([1.0, 0, 0, 0] * 50)
    found = fit_calibrator(-y, y, "platt")
    assert found.slope == 0.0
    assert found.apply(np.array([-9.0, 9.0])) == pytest.approx([0.25, 0.25], abs=0.01)


def test_isotonic_needs_rows():
    assert fit_calibrator(np.linspace(-1, 1, 100), np.ones(100), "isotonic").method == "platt"


def test_isotonic_is_monotone(overconfident):
    logits, y = overconfident
    found = fit_calibrator(logits[:600], y[:600], "isotonic")
    assert (np.diff(found.apply(np.linspace(-5, 5, 200))) >= 0).all()


def test_a_calibrator_survives_json(overconfident):
    logits, y = overconfident
    for method in ("none", "temperature", "platt", "isotonic"):
        found = fit_calibrator(logits[:600], y[:600], method)
        assert Calibrator.from_dict(found.to_dict()) == found


def test_ece_by_hand():
    expected, seen = np.array([0.15, 0.15, 0.85, 0.85]), np.array([0.0, 1, 1, 1])
    assert ece(expected, seen) == pytest.approx(0.5 * 0.35 + 0.5 * 0.15)
    assert reliability(expected, seen) == [(0.15, 0.5, 0.5), (0.85, 1.0, 0.5)]
    assert ece(np.array([-0.05, -0.05]), np.array([-1.0, 1.0])) == pytest.approx(0.05)


def test_auc_by_hand():
    assert auc(np.array([3.0, 1, 2, 2]), np.array([1.0, 0, 1, 0])) == pytest.approx((2 + 1.5) / 4)
    assert auc(np.array([1.0, 2.0]), np.array([1.0, 1.0])) == 0.5


def test_logistic_regression_finds_coefficients_and_survives_separable_rows():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20_000, 2))
    y = sigmoid(x @ np.array([1.0, -2.0]) + 0.5)
    coefficients, intercept = fit_logistic(x, y, ridge=1e-6)
    assert coefficients == pytest.approx([1.0, -2.0], abs=1e-2)
    assert intercept == pytest.approx(0.5, abs=1e-2)
    split, _ = fit_logistic(np.array([[-1.0], [1.0]]), np.array([0.0, 1.0]), ridge=1e-3)
    assert np.isfinite(split).all()
    _, rate = fit_logistic(np.zeros((8, 0)), np.zeros(8), ridge=1.0)
    assert sigmoid(np.array(rate)) == pytest.approx(0.5 / 9)
