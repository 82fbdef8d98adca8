"""The router on rows whose gain is known: it finds them, says what it found, and survives its file."""

import json

import numpy as np
import pytest

from spark_llm.router import Audit, Budget, Cascade, PilotOutcome, Router, Signals, policy_of
from spark_llm.router.audit import audited
from spark_llm.router.cascade import Decision


def table(rows, seed=0, hard=0.4, informative=True):
    """Rows of which the hard ones are answered wrongly, with a low margin, and fixed by the costly arm."""
    rng = np.random.default_rng(seed)
    is_hard = rng.random(rows) < hard
    seen = is_hard if informative else rng.random(rows) < hard
    wrong = np.where(is_hard, rng.random(rows) < 0.9, rng.random(rows) < 0.05)
    gain = np.where(wrong, rng.random(rows) < 0.8, -(rng.random(rows) < 0.02).astype(float))
    margin = rng.normal(np.where(seen, 1.0, 4.0), 1.0)
    signals = Signals(
        rows,
        prompts=[f"{'12 + 34 =' if s else 'copy this'} {i:05d}" for i, s in enumerate(seen)],
        margin=margin,
        mean_logprob=np.where(rng.random(rows) < 0.1, np.nan, -1 / (1 + np.exp(margin))),
        answer_tokens=rng.integers(1, 9, rows).astype(float),
        parse_failed=np.zeros(rows),
    )
    extra = rng.lognormal(np.where(is_hard, 5.0, 4.0), 0.5)
    return signals, PilotOutcome.of(gain, extra, wrong.astype(float))


@pytest.fixture(scope="module")
def fitted():
    signals, outcome = table(200, seed=1)
    return Router.fit(signals, outcome, shape="abc", model="off, on")


def test_rows_that_gain_are_found_and_chances_mean_what_they_say(fitted):
    signals, outcome = table(20_000, seed=2)
    expected = fitted.expected(signals)
    best = np.argsort(-expected.gain)[:8000]
    assert outcome.gains[best].sum() > 0.85 * outcome.gains.sum()
    assert expected.gain.mean() == pytest.approx(outcome.gains.mean(), abs=0.06)
    assert expected.extra_tokens.mean() == pytest.approx(outcome.extra_tokens.mean(), rel=0.2)
    assert fitted.quality.auc > 0.8


def test_a_share_is_kept_and_no_budget_leaves_easy_rows_alone(fitted):
    signals, outcome = table(5000, seed=3)
    assert fitted.choose(signals, Budget(share=0.2)).mean() == pytest.approx(0.2)
    free = fitted.choose(signals)
    assert outcome.gains[free].sum() >= outcome.gains.sum() - 0.02 * 5000
    assert outcome.extra_tokens[free].sum() < 0.8 * outcome.extra_tokens.sum()
    tokens = fitted.expected(signals).extra_tokens
    assert tokens[fitted.choose(signals, Budget(row_tokens=20))].sum() <= 20 * 5000


def test_the_first_pass_may_lack_signals(fitted):
    signals, _ = table(100, seed=4)
    bare = Signals(100)
    assert np.ptp(fitted.expected(bare).gain) == 0
    router = Router.fit(bare, table(100, seed=4)[1])
    assert router.features.names == ()
    assert np.ptp(router.expected(signals).gain) == 0
    infinite = Signals(2, margin=np.array([np.inf, -np.inf]), mean_logprob=np.array([-np.inf, np.nan]))
    assert np.isfinite(fitted.expected(infinite).gain).all()


def test_text_joins_where_it_is_all_there_is():
    signals, outcome = table(200, seed=5)
    router = Router.fit(Signals(200, prompts=signals.prompts), outcome)
    assert router.features.text
    assert router.quality.auc > 0.8


def test_text_that_says_nothing_stays_out():
    signals, outcome = table(200, seed=6)
    same_looks = Signals(200, margin=signals.margin, prompts=[f"row {i % 10}" for i in range(200)])
    assert not Router.fit(same_looks, outcome).features.text


def test_a_router_survives_json(fitted):
    signals, _ = table(50, seed=7)
    text = fitted.to_json()
    back = Router.from_json(text)
    assert back == fitted
    np.testing.assert_array_equal(back.expected(signals).gain, fitted.expected(signals).gain)
    assert back.to_json() == text


@pytest.mark.parametrize("text", ["", "[]", "{}", "\x80\x04K\x01.", '{"version": 1}'])
def test_what_is_no_router_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        Router.from_json(text)


def test_another_version_is_refused(fitted):
    with pytest.raises(ValueError, match="version 2, not 1"):
        Router.from_json(json.dumps({**json.loads(fitted.to_json()), "version": 2}))


def test_a_pilot_that_is_too_small_is_refused():
    signals, outcome = table(10)
    with pytest.raises(ValueError, match="10 rows have a gain; a router needs 20"):
        Router.fit(signals, outcome)


def decide(signals, outcome, **options):
    return Cascade().decide_query(outcome, Router.fit(signals, outcome), **options)


def test_a_query_of_easy_rows_is_off():
    signals, _ = table(300)
    outcome = PilotOutcome.of(np.zeros(300), np.full(300, 80.0), np.zeros(300))
    found = decide(signals, outcome)
    assert found == Decision("off", "off for all rows: gain +0.0 points on 300 pilot rows (95% interval -0.9 to +0.9, "
                                    "against labels) is below 1")  # fmt: skip


def test_a_query_of_hard_rows_without_signals_is_on_unless_the_budget_forbids():
    signals, outcome = table(300, hard=0.7, informative=False)
    signals = Signals(300, answer_tokens=signals.answer_tokens)
    found = decide(signals, outcome)
    assert found.choice == "on"
    assert "no signal tells rows apart (AUC" in found.reason
    assert decide(signals, outcome, budget=Budget(row_tokens=10), rows=1000).choice == "per_row"
    assert decide(signals, outcome, budget=Budget(share=0.5), rows=1000).choice == "per_row"
    assert decide(signals, outcome, budget=Budget(row_tokens=1e6), rows=1000).choice == "on"


def test_a_mixed_query_is_decided_row_by_row():
    assert decide(*table(300)).choice == "per_row"


def test_difference_alone_never_switches_a_query_on():
    _, outcome = table(300, hard=0.7, informative=False)
    known = PilotOutcome(
        outcome.gains, outcome.extra_tokens, outcome.thinking_tokens, outcome.truncated, "difference"
    )
    found = Cascade().decide_query(known, None)
    assert found.choice == "off"
    assert "at most" in found.reason


def test_cut_thoughts_are_in_the_reason():
    gains = np.array([np.nan] * 5 + [0.0] * 300)
    outcome = PilotOutcome(gains, np.ones(305), np.ones(305), np.isnan(gains))
    assert (
        Cascade()
        .decide_query(outcome)
        .reason.endswith("thinking of 5 rows was cut off, which counts neither way is below 1")
    )
    nothing = PilotOutcome(gains[:5], np.ones(5), np.ones(5), np.ones(5, bool))
    assert Cascade().decide_query(nothing).choice == "off"


@pytest.mark.parametrize("hard", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_never_worse_than_the_better_of_off_and_on(hard, seed):
    signals, outcome = table(300, seed=seed, hard=hard)
    choice = decide(signals, outcome).choice
    rows, truth = table(5000, seed=seed + 10, hard=hard)
    mask = {"off": np.zeros(5000, bool), "on": np.ones(5000, bool)}.get(choice)
    if mask is None:
        mask = Router.fit(signals, outcome).choose(rows)
    assert truth.gains[mask].sum() / 5000 >= max(truth.gains.mean(), 0) - 0.02


def test_policies_rank_as_they_should():
    signals, outcome = table(200, seed=8)
    rows, truth = table(2000, seed=9)
    gained = {}
    for name, options in {"random": {}, "cascade": {}, "oracle": {"gains": truth.gains}}.items():
        policy = policy_of(name, **options)
        policy.fit(signals, outcome)
        best = np.argsort(-policy.scores(rows))[:600]
        gained[name] = truth.gains[best].sum()
    assert gained["random"] < 0.6 * gained["cascade"] < 0.6 * gained["oracle"]
    assert (policy_of("always_on").scores(rows) > 0).all()
    assert not (policy_of("always_off").scores(rows) > 0).any()
    with pytest.raises(ValueError, match="no policy 'best'; there are always_on"):
        policy_of("best")


def test_signals_are_checked():
    with pytest.raises(ValueError, match=r"margin must have shape \(3,\), not \(2,\)"):
        Signals(3, margin=np.zeros(2))
    with pytest.raises(ValueError, match="prompts must have 3 entries, not 1"):
        Signals(3, prompts=["a"])
    part = Signals(3, prompts=list("abc"), margin=np.arange(3)).take([2, 0])
    assert (part.rows, part.prompts, part.margin.tolist()) == (2, ["c", "a"], [2, 0])


def test_an_audit_tells_a_fall_from_noise():
    rng = np.random.default_rng(0)

    def run(rate):
        audit = Audit(pilot_agree=160, pilot_rows=200)
        for _ in range(40):
            audit.add(float((rng.random(10) < rate).sum()), 10)
            audit.look()
        return audit

    assert sum(run(0.8).drifted for _ in range(100)) <= 5
    assert sum(run(0.55).drifted for _ in range(20)) == 20
    assert not any(run(0.95).drifted for _ in range(20))
    fallen = run(0.5)
    assert "fallen: the router is fitted anew" in fallen.reason()
    assert "80.0% of 200 pilot rows" in fallen.reason()
    assert Audit(160, 200).reason() == "no rows audited yet"


def test_one_row_in_a_hundred_is_audited_and_always_the_same():
    keys = [f"row {i}" for i in range(20_000)]
    found = [audited(key) for key in keys]
    assert 150 <= sum(found) <= 250
    assert found == [audited(key) for key in keys]
