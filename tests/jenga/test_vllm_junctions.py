"""Where a prompt parts from those that wait."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

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
    assert junctions_of(chained(prompt), map(chained, others), per_block) == expected
