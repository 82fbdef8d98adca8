"""The published entropy rule, branch by branch, with exact values."""

import math

import numpy as np
import pytest

from spark_llm.router.semantic_router import (
    CATEGORIES,
    DEFAULT_TABLE,
    GENERATED_TABLE,
    decide,
    decide_all,
    normalised_entropy,
)


def spread(top: float, top_class: str, second: float = 0.0, second_class: str = "law", classes: int = 14):
    """The given chances for two classes, the rest equally over the others."""
    rest = [c for c in CATEGORIES[:classes] if c not in {top_class, second_class}]
    found = {c: (1 - top - second) / len(rest) for c in rest}
    return {top_class: top, second_class: second, **found}


def test_entropy_of_two_equal_of_four_classes_is_one_half():
    assert normalised_entropy([0.5, 0.5, 0, 0]) == pytest.approx(0.5)
    assert normalised_entropy([0.25] * 4) == pytest.approx(1.0)
    assert normalised_entropy([1.0, 0.0]) == 0.0
    assert normalised_entropy([1.0]) == 0.0


def test_very_high_entropy_reasons_whatever_the_table_says():
    found = decide(dict.fromkeys(CATEGORIES, 1 / 14), dict.fromkeys(CATEGORIES, False))
    assert (found.use, found.confidence, found.rule) == (True, 0.3, "very_high")


def test_high_entropy_votes_of_the_two_likeliest():
    # Entropy .6 to .8; math reasons, law does not: the heavier one decides.
    for math_chance, law, use in ((0.45, 0.2, True), (0.2, 0.45, False)):
        found = decide(spread(math_chance, "math", law, "law"))
        assert 0.6 <= found.entropy < 0.8
        assert (found.use, found.rule) == (use, "high")
        assert found.confidence == pytest.approx(0.45 / 0.65)


def test_a_tie_of_the_vote_does_not_reason():
    found = decide(spread(0.32, "math", 0.32, "law"))
    assert 0.6 <= found.entropy < 0.8
    assert found.use is False


def test_medium_entropy_trusts_a_likely_category():
    found = decide(spread(0.75, "math", 0.05, "law"))
    assert 0.4 <= found.entropy < 0.6
    assert (found.use, found.rule) == (True, "medium_trusted")
    assert found.confidence == pytest.approx(0.8 * 0.75)
    assert decide(spread(0.75, "law", 0.05, "math")).use is False


def test_medium_entropy_votes_of_three_below_the_threshold():
    chances = {"law": 0.4, "math": 0.35, "physics": 0.25} | dict.fromkeys(
        set(CATEGORIES) - {"law", "math", "physics"}, 0.0
    )
    found = decide(chances)
    assert 0.4 <= found.entropy < 0.6
    assert (found.use, found.rule) == (True, "medium_vote")
    assert found.confidence == pytest.approx(0.6)
    # Two would have said no.
    assert 0.35 / 0.75 < 0.5


def test_low_and_very_low_entropy_follow_the_likeliest():
    low, very_low = decide(spread(0.85, "physics", 0.05)), decide(spread(0.99, "physics", 0.01))
    assert (low.use, low.rule, low.confidence) == (True, "low", pytest.approx(0.9 * 0.85))
    assert (very_low.use, very_low.rule, very_low.confidence) == (
        True,
        "very_low",
        pytest.approx(0.95 * 0.99),
    )
    assert decide(spread(0.9, "business", 0.05)).use is False


@pytest.mark.parametrize(
    ("entropy", "rule"), [(0.8, "very_high"), (0.6, "high"), (0.4, "medium_trusted"), (0.2, "low")]
)
def test_borders_belong_to_the_branch_above(monkeypatch, entropy, rule):
    monkeypatch.setattr("spark_llm.router.semantic_router.normalised_entropy", lambda _: entropy)
    assert decide({"math": 0.9, "law": 0.1}).rule == rule
    monkeypatch.setattr(
        "spark_llm.router.semantic_router.normalised_entropy", lambda _: math.nextafter(entropy, 0)
    )
    assert decide({"math": 0.9, "law": 0.1}).rule != rule


def test_the_threshold_of_trust_is_inclusive(monkeypatch):
    monkeypatch.setattr("spark_llm.router.semantic_router.normalised_entropy", lambda _: 0.5)
    assert decide({"math": 0.6, "law": 0.4}).rule == "medium_trusted"
    assert decide({"math": 0.59, "law": 0.41}).rule == "medium_vote"


def test_a_category_out_of_the_table_does_not_reason():
    assert decide({"poetry": 1.0, "math": 0.0}).use is False


def test_tables():
    assert {c for c, use in DEFAULT_TABLE.items() if use} == {"math", "physics", "chemistry"}
    assert {c for c, use in GENERATED_TABLE.items() if use} == {
        "math", "physics", "chemistry", "computer science", "engineering", "biology",
    }  # fmt: skip
    assert len(CATEGORIES) == 14


def test_many_prompts_at_once():
    chances = np.full((3, 14), 1 / 14)
    chances[1:] = 0.0
    chances[1, CATEGORIES.index("math")] = chances[2, CATEGORIES.index("law")] = 1.0
    assert decide_all(chances, CATEGORIES).tolist() == [True, True, False]
