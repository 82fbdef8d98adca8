import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_llm.analyze.blocks import Blocks
from spark_llm.analyze.cache import reused_tokens
from spark_llm.jenga.junctions import Junction, junctions_of, plan_junctions, prefixes_of
from spark_llm.jenga.replay import replay_belady, replay_learned, replay_planned

UNIT = 2
prompts_of = st.lists(
    st.lists(st.integers(0, 1), min_size=0, max_size=14).map(tuple), min_size=0, max_size=12
)


def units(prompt, unit=UNIT):
    """Prefixes that a later request could hit, the shortest first."""
    return [prompt[:end] for end in range(unit, len(prompt), unit)]


def wholes(prompts):
    """Prefixes that these leave for others."""
    return {prompt[:end] for prompt in prompts for end in range(UNIT, len(prompt) + 1, UNIT)}


def keyed(prompts, unit=UNIT):
    """Whole units of the prompts as keys; equal prefixes have equal ones."""
    known = {}
    keys, offsets = [], [0]
    for prompt in prompts:
        keys += [known.setdefault(prompt[:end], len(known)) for end in range(unit, len(prompt) + 1, unit)]
        offsets.append(len(keys))
    lengths = [len(prompt) for prompt in prompts]
    return np.array(keys, np.uint64), np.array(offsets, np.int64), np.array(lengths, np.int64)


@settings(deadline=None)
@given(prompts_of)
def test_junctions_are_where_brute_force_finds_rows_part(prompts):
    plan = junctions_of(prompts, UNIT)
    users = {}
    for position, prompt in enumerate(prompts):
        for prefix in units(prompt):
            users.setdefault(prefix, []).append(position)
    found = [[(at.offset_tokens, at.uses) for at in plan.of(row)] for row in range(len(prompts))]
    for position, prompt in enumerate(prompts):
        for offset, uses in found[position]:
            assert uses == sum(user > position for user in users[prompt[:offset]])
    # As far as some earlier row goes is where a row would resume: each such place is a junction.
    resumed = set()
    for position, prompt in enumerate(prompts):
        matched = [prefix for prefix in units(prompt) if prefix in wholes(prompts[:position])]
        resumed.update(matched[-1:])
    planned = {prompt[:at] for prompt, row in zip(prompts, found, strict=True) for at, _ in row}
    assert resumed <= planned
    # And nothing else is: elsewhere the same rows go on together.
    for prefix in planned:
        below = {row[: len(prefix) + UNIT] for row in prompts if row[: len(prefix)] == prefix}
        ends = any(units(row)[-1:] == [prefix] for row in prompts)
        assert ends or len(below) > 1


@settings(deadline=None)
@given(prompts_of)
def test_every_row_hits_as_far_as_any_earlier_row_goes(prompts):
    found = replay_planned(junctions_of(prompts, UNIT))
    for position, prompt in enumerate(prompts):
        seen = wholes(prompts[:position])
        best = max((len(prefix) for prefix in units(prompt) if prefix in seen), default=0)
        assert found.hit_tokens[position] == best
    assert found.second_hits == found.junctions


def test_uses_count_down_and_leaders_come_first():
    rows = [(1, 1, 2, 2, 3, 0), (1, 1, 2, 2, 4, 0), (1, 1, 2, 2, 5, 0), (1, 1, 9, 9, 9, 0)]
    plan = junctions_of(rows, UNIT)
    assert [[(at.offset_tokens, at.uses) for at in plan.of(row)] for row in range(4)] == [
        [(2, 3), (4, 2)],
        [(2, 2), (4, 1)],
        [(2, 1), (4, 0)],
        [(2, 0)],
    ]
    assert plan.leaders().tolist() == [True, False, False, False]
    assert replay_planned(plan).peak_states == 2
    assert isinstance(plan.of(0)[0], Junction)


def test_state_is_dropped_after_its_last_use():
    rows = [(group,) * 4 + (at,) for group in range(5) for at in (8, 9)]
    assert replay_planned(junctions_of(rows, UNIT)).peak_states == 1


def test_rows_in_flight_together_miss_without_a_leader():
    rows = [(1, 1, 1, 1, at) for at in range(6)]
    plan = junctions_of(rows, UNIT)
    assert replay_planned(plan).hit_tokens.tolist() == [0, 4, 4, 4, 4, 4]
    assert replay_planned(plan, in_flight=2).hit_tokens.tolist() == [0, 0, 0, 4, 4, 4]


def test_learned_junctions_hit_on_the_third_row_and_only_on_the_grid():
    rows = [(1,) * 7 + (at,) * 3 for at in range(4)]
    assert replay_learned(*keyed(rows, 2), 2).hit_tokens.tolist() == [0, 0, 6, 6]
    assert replay_learned(*keyed(rows, 4), 4).hit_tokens.tolist() == [0, 0, 4, 4]
    assert replay_learned(*keyed(rows, 8), 8).hit_tokens.tolist() == [0, 0, 0, 0]
    assert replay_planned(junctions_of(rows, UNIT)).hit_tokens.tolist() == [0, 6, 6, 6]


def test_learned_state_at_the_end_of_a_prompt_serves_an_equal_one():
    rows = [(1, 2, 3, 4, 5)] * 3
    assert replay_learned(*keyed(rows, 2), 2).hit_tokens.tolist() == [0, 4, 4]


@settings(deadline=None)
@given(prompts_of)
def test_planned_junctions_never_hit_less_than_learned_ones(prompts):
    planned = replay_planned(junctions_of(prompts, UNIT)).hit_tokens
    learned = replay_learned(*keyed(prompts), UNIT).hit_tokens
    assert (planned >= learned).all()


@settings(deadline=None)
@given(prompts_of, st.integers(0, 8))
def test_belady_never_hits_less_than_the_least_recently_used(prompts, blocks):
    keys, offsets, lengths = keyed(prompts)
    best = replay_belady(prefixes_of(keys, offsets, lengths, UNIT), blocks * UNIT)
    assert best.sum() <= replay_planned(junctions_of(prompts, UNIT)).hit_tokens.sum()
    if blocks:
        lru = reused_tokens(Blocks(keys, offsets, lengths, UNIT), blocks * UNIT)
        assert best.sum() >= lru.sum()


def test_belady_keeps_what_comes_back_first():
    a, b, c = (1, 1, 0), (2, 2, 0), (3, 3, 0)
    rows = [a, b, c, a, b]
    prefixes = prefixes_of(*keyed(rows), UNIT)
    assert replay_belady(prefixes, 2 * UNIT).tolist() == [0, 0, 0, 2, 2]
    assert replay_belady(prefixes, 1 * UNIT).tolist() == [0, 0, 0, 2, 0]
    assert reused_tokens(Blocks(*keyed(rows), UNIT), 2 * UNIT).tolist() == [0, 0, 0, 0, 0]


@pytest.mark.parametrize("prompts", [[], [()], [(1,)], [(1, 2)]])
def test_prompts_without_units(prompts):
    plan = junctions_of(prompts, UNIT)
    assert len(plan.offsets) == len(prompts) + 1
    assert replay_planned(plan).hit_tokens.sum() == 0
    assert not plan.leaders().any()
    assert plan_junctions(prefixes_of(*keyed(prompts), UNIT)).offsets.tolist() == plan.offsets.tolist()
