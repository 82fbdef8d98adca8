"""The second run starts from what the first accepted; no file can break it."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_llm.costmodel.presets import H100_8B, NGRAM
from spark_llm.smartspec import priors as module
from spark_llm.smartspec.acceptance import Acceptance
from spark_llm.smartspec.priors import FILE, Priors
from spark_llm.smartspec.value import Value


def test_what_a_run_saw_is_there_in_the_next(tmp_path):
    first = Priors(tmp_path / "statistics")
    assert (first.get("labels", "n-gram"), first.problem) == (None, "")
    first.learn("labels", "n-gram", [0.4, 0.8], 500, at_s=7)
    first.save()
    second = Priors(tmp_path / "statistics").get("labels", "n-gram")
    assert (second.acceptance, second.trials, second.at_s) == ((0.4, 0.8), 500, 7)
    policy = Value(H100_8B, NGRAM, 4, acceptance=Acceptance(4, second.acceptance, second.trials))
    assert policy.acceptance.common[0] == pytest.approx(0.4, abs=0.02)
    assert policy.acceptance.common[1] == pytest.approx(0.8, abs=0.05)
    assert Priors(tmp_path / "statistics").get("labels", "suffix") is None


def test_runs_weigh_by_their_trials_and_longer_ones_keep_their_tail(tmp_path):
    priors = Priors(tmp_path)
    priors.learn("a", "d", [0.2, 0.6, 0.7], 100, at_s=1)
    priors.learn("a", "d", [0.8], 300, at_s=2)
    assert priors.get("a", "d").acceptance == pytest.approx((0.65, 0.6, 0.7))


def test_two_writers_both_stay(tmp_path):
    one, other = Priors(tmp_path), Priors(tmp_path)
    one.learn("a", "d", [0.5], 10, at_s=1)
    other.learn("b", "d", [0.5], 10, at_s=1)
    one.save()
    other.save()
    assert Priors(tmp_path).get("a", "d")
    assert Priors(tmp_path).get("b", "d")
    assert [file.name for file in tmp_path.iterdir()] == [FILE]


def test_shapes_not_seen_for_longest_go(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_SHAPES", 2)
    priors = Priors(tmp_path)
    for at_s, shape in enumerate("cab"):
        priors.learn(shape, "d", [0.5], 10, at_s=at_s)
    priors.save()
    assert set(json.loads((tmp_path / FILE).read_text())["priors"]) == {"a", "b"}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", '{"version": 2}', '{"version": 1, "priors": 5}', "\x00\xff", "[" * 100_000]
)
def test_a_broken_file_is_a_cold_start(tmp_path, text):
    (tmp_path / FILE).write_text(text, encoding="latin-1")
    priors = Priors(tmp_path)
    assert priors.get("a", "d") is None
    assert bool(priors.problem) == (text != '{"version": 1, "priors": 5}')
    priors.learn("a", "d", [0.5], 10, at_s=1)
    priors.save()
    assert Priors(tmp_path).get("a", "d").acceptance == (0.5,)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=3) | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)


@given(json_values, json_values, json_values)
@settings(max_examples=100, deadline=None)
def test_whatever_stands_there_a_prior_is_a_probability(tmp_path_factory, acceptance, trials, at_s):
    folder = tmp_path_factory.mktemp("priors")
    values = {"acceptance": acceptance, "trials": trials, "at_s": at_s}
    (folder / FILE).write_text(json.dumps({"version": 1, "priors": {"a": {"d": values}}}))
    prior = Priors(folder).get("a", "d")
    assert prior is None or all(0.01 <= a <= 0.99 for a in prior.acceptance)
