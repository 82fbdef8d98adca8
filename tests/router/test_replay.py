"""Real answers of two pairs of models, ranked after 200 labels."""

import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
DATA = ROOT.parent / "shared" / "data_router"

pytest.importorskip("sklearn", reason="scikit-learn is not installed")


@pytest.fixture(scope="module")
def replay():
    import router

    if not DATA.is_dir():
        pytest.skip(f"no answers of real models in {DATA}")
    table, _ = router.split(router.read(DATA, 0), "odd")
    return lambda at: router.Replay(table, router.PAIRS[at], 200, 5, 0)


@pytest.mark.parametrize("at", [0, 1])
def test_agreement_of_small_models_finds_rows_that_gain(replay, at):
    import router

    pair = replay(at)
    signals = pair.signals(("answer_tokens", "second_agrees", "third_agrees"))

    def policy(drawn, seed):
        found = router.Router.fit(signals.take(drawn), pair.outcome(drawn), seed=seed).expected(signals)
        return router.Scored(found.gain, found.cheap_wrong, found.cheap_wrong, found.gain, 1 - pair.cheap)

    row = pair.row(policy)
    assert row["apgr"] > 0.6
    assert row["cpt80"] < 0.6
    assert row["ece_after"] < 0.06
    assert pair.row(lambda *_: router.Scored(pair.gain))["apgr"] > row["apgr"]


def test_the_curve_takes_ties_in_expectation():
    import router

    share, recovered = router.curve(np.zeros(4), np.array([1.0, 0, 0, 1]))
    assert np.trapezoid(recovered, share) == 0.5
    assert router.reaches(share, recovered, 0.8) == pytest.approx(0.8)
    share, recovered = router.curve(np.array([2.0, 1, 1, 0]), np.array([1.0, 1, 0, 0]))
    assert router.reaches(share, recovered, 0.5) == 0.25
    assert np.trapezoid(recovered, share) == pytest.approx(0.25 * 0.25 + 0.5 * 0.75 + 0.25)


def test_a_made_up_table_has_the_schema_and_halves_that_share_nothing():
    import router

    table = router.made_up(200, 0)
    one, other = router.split(table, "odd")
    assert len(one) + len(other) == 200
    assert not set(one["question_id"]) & set(other["question_id"])
