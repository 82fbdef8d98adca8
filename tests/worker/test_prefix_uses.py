"""What the prompts of a window share, and how many later ones will."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from spark_llm.engine.types import PrefixUse
from spark_llm.worker.prefix_uses import MOST_LEVELS, MOST_PREFIXES, prefix_uses

prompts = st.lists(st.text("ab", max_size=7), max_size=9)


def shared(one, other):
    """How many characters two texts begin with alike."""
    at = 0
    while at < min(len(one), len(other)) and one[at] == other[at]:
        at += 1
    return at


def brute(texts):
    """All prefixes at which two texts part or one of them ends, and the one that all share."""
    found = []
    for place, text in enumerate(texts):
        ends = {shared(text, other) for at, other in enumerate(texts) if at != place}
        row = []
        for chars in sorted(ends):
            later = [at for at in range(place + 1, len(texts)) if texts[at][:chars] == text[:chars]]
            row.append(PrefixUse(chars, len(later), later[0] - place if later else 0))
        found.append(tuple(row[-MOST_PREFIXES:]))
    return found


@given(prompts)
def test_every_common_prefix_is_found_with_its_uses(texts):
    found = prefix_uses(texts, 1)
    for row, expected in zip(found, brute(texts), strict=True):
        # What all share is told also where it is no end of this row's own.
        assert [use for use in row if use in expected] == list(expected)
        assert len(row) <= len(expected) + 1


@given(prompts)
def test_prefixes_within_a_block_of_a_shorter_one_are_left_out(texts):
    for row, all_of_it in zip(prefix_uses(texts, 3), prefix_uses(texts, 1), strict=True):
        assert set(row) <= set(all_of_it)
        assert all(b.chars - a.chars >= 3 for a, b in pairwise(row))
        if all_of_it:
            assert row[0] == all_of_it[0]


def test_a_group_is_told_from_what_all_share():
    rows = ["Say: A1", "Say: A2", "Say: B1"]
    assert prefix_uses(rows, 1) == [
        (PrefixUse(5, 2, 1), PrefixUse(6, 1, 1)),
        (PrefixUse(5, 1, 1), PrefixUse(6, 0, 0)),
        (PrefixUse(5, 0, 0),),
    ]


def test_a_prompt_alone_shares_nothing():
    assert prefix_uses(["Say"], 1) == [()]
    assert prefix_uses([], 1) == []


def test_many_prompts_of_a_window_take_no_square_time():
    texts = [f"instruction {at // 100:04} {at:06} " + "x" * 500 for at in range(20_000)]
    found = prefix_uses(texts, 4)
    assert found[0][0] == PrefixUse(13, 19_999, 1)
    assert found[101][-1].uses > 0


def test_prompts_that_extend_one_another_take_no_square_time():
    texts = ["word " * at for at in range(1, 20_001, 10)]
    found = prefix_uses(texts, 4)
    assert sum(map(len, found)) <= MOST_PREFIXES * len(texts)
    assert found[0][0] == PrefixUse(5, len(texts) - 1, 1)
    assert found[-1][-1].chars == 5 * (1 + 10 * (MOST_LEVELS - 1))
