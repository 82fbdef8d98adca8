"""The n-gram index finds what a scan of the whole row finds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_llm.smartspec.drafters.ngram import NgramDrafter

tokens = st.lists(st.integers(0, 3) | st.sampled_from([70_000, 151_935]), max_size=40)


def scan(ids, min_n, max_n, k):
    for n in range(max_n, min_n - 1, -1):
        for end in range(n, len(ids)):
            if ids[end - n : end] == ids[len(ids) - n :]:
                draft = list(ids[end:])
                while len(draft) < k:
                    draft.append(draft[len(draft) - (len(ids) - end)])
                return draft[:k], n
    return [], 0


@given(tokens, st.lists(tokens, max_size=6), st.integers(1, 3), st.integers(0, 3), st.integers(0, 9))
def test_finds_what_a_scan_finds(prompt, steps, min_n, more, k):
    drafter, ids = NgramDrafter(prompt, min_n, min_n + more), list(prompt)
    for step in [[], *steps]:
        drafter.extend(step)
        ids += step
        assert drafter.draft(k) == scan(ids, min_n, min_n + more, k)


@given(tokens, tokens, st.integers(1, 20))
def test_only_the_window_of_the_prompt_counts(prompt, answer, window):
    drafter = NgramDrafter(prompt, window_tokens=window)
    drafter.extend(answer)
    assert drafter.draft(5) == scan(prompt[-window:] + answer, 1, 4, 5)


def test_the_longest_match_wins_and_of_equals_the_first():
    longest = [1, 2, 3, 9, 2, 3, 8, 3, 7, 1, 2, 3]
    assert NgramDrafter(longest).draft(1) == ([9], 3)
    assert NgramDrafter([2, 3, 9, 2, 3, 8, 2, 3]).draft(2) == ([9, 2], 2)


def test_a_repetition_goes_on():
    assert NgramDrafter([5, 1, 2, 1, 2]).draft(5) == ([1, 2, 1, 2, 1], 2)


@pytest.mark.parametrize(("min_n", "max_n"), [(0, 4), (3, 2), (1, 9)])
def test_lengths_that_make_no_sense(min_n, max_n):
    with pytest.raises(ValueError, match="1 <= min_n <= max_n <= 8"):
        NgramDrafter([1], min_n, max_n)
