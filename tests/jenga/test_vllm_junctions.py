"""Where a prompt parts from those that wait."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spark_llm.jenga.uses import Told
from spark_llm.jenga.vllm_junctions import MAX_JUNCTIONS, junctions_of

prompts = st.lists(st.integers(0, 1), max_size=12)


def chained(prompt):
    """One hash per unit, of all units up to it."""
    return [tuple(prompt[: at + 1]) for at in range(len(prompt))]


@given(prompts, st.lists(prompts, max_size=6), st.integers(1, 3))
def test_junctions_are_the_common_prefixes_in_whole_blocks(prompt, others, per_block):
    def common(other):
        equal = 0
        while equal < min(len(prompt), len(other)) and prompt[equal] == other[equal]:
            equal += 1
        return equal // per_block * per_block

    expected = sorted({common(other) for other in others} - {0})[-MAX_JUNCTIONS:]
    assert junctions_of(chained(prompt), map(chained, others), (), per_block) == expected


def test_rows_that_are_to_come_are_told():
    told = [Told(1, 2, 1), Told(3, 1, 1), Told(5, 0, 0)]
    assert junctions_of(range(8), [range(7)], told) == [1, 3, 7]
    # In whole blocks; a prefix that no later row uses is none.
    assert junctions_of(range(8), [], told, per_block=2) == [2]
