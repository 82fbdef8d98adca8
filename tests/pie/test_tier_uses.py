"""Counts of waiting rows, and who is evicted by them."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_llm.pie.uses import NEVER, WaitingUses


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.lists(st.integers(0, 5), max_size=4) | st.none()), max_size=30)
)
def test_counts_are_those_of_the_rows_that_wait(steps):
    uses, rows = WaitingUses(), {}
    for row, hashes in steps:
        if hashes is None:
            uses.drop(str(row))
            rows.pop(row, None)
        else:
            uses.add(str(row), (bytes([each]) for each in hashes))
            rows[row] = hashes
        expected = Counter(each for hashes in rows.values() for each in set(hashes))
        assert len(uses) == len(expected)
        assert all(uses.of(bytes([each]))[0] == expected[each] for each in range(6))


def test_the_next_use_is_the_first_waiting_rows():
    uses = WaitingUses()
    for row, hashes in ("a", [b"1", b"2"]), ("b", [b"1"]), ("c", [b"1", b"2", b"3"]):
        uses.add(row, hashes)
    assert [uses.of(each) for each in (b"1", b"2", b"3", b"4")] == [(3, 0), (2, 0), (1, 2), (0, NEVER)]
    uses.drop("a")
    assert [uses.of(each)[1] for each in (b"1", b"2", b"3")] == [1, 2, 2]
    uses.add("b", [b"1"])
    uses.drop("c")
    assert [uses.of(each)[1] for each in (b"1", b"2", b"3")] == [3, NEVER, NEVER]


pytest.importorskip("vllm")


def policy_of(count):
    from vllm.v1.kv_offload.base import make_offload_key
    from vllm.v1.kv_offload.cpu.policies.base import ChunkStatus

    from spark_llm.pie.vllm_tier_uses import RemainingUsesPolicy

    policy, keys = (
        RemainingUsesPolicy(count),
        [make_offload_key(bytes([number]), 0) for number in range(count)],
    )
    for number, key in enumerate(keys):
        policy.insert(key, ChunkStatus(number))
        policy.get(key).ref_cnt = 0
        policy.mark_evictable(key)
    return policy, keys


@pytest.mark.vllm
def test_without_a_plan_it_is_vllms_lru():
    policy, keys = policy_of(5)
    policy.touch([keys[0]], None)
    assert [key for key, _ in policy.evict(2, {keys[1]})] == [keys[2], keys[3]]


@pytest.mark.vllm
def test_chunks_that_waiting_rows_begin_with_go_last_the_furthest_first():
    policy, keys = policy_of(6)
    policy.uses.add("a", [bytes([1])])
    policy.uses.add("b", [bytes([0])])
    assert [key for key, _ in policy.evict(3, {keys[2]})] == keys[3:6]
    assert policy.evict(4, set()) is None
    assert set(policy.chunks) == {*keys[:3]}
    assert [key for key, _ in policy.evict(2, set())] == [keys[2], keys[0]]
    policy.uses.drop("b")
    policy.uses.drop("a")
    assert [key for key, _ in policy.evict(1, set())] == [keys[1]]


@pytest.mark.vllm
def test_an_order_that_was_made_before_a_row_came_does_not_hold_against_it():
    policy, keys = policy_of(32)
    policy.uses.add("a", [bytes([31])])
    assert [key for key, _ in policy.evict(1, set())] == [keys[0]]
    policy.uses.add("b", [bytes([1])])
    policy.touch([keys[2]], None)
    assert [key for key, _ in policy.evict(2, set())] == [keys[3], keys[4]]


@pytest.mark.vllm
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_an_eviction_takes_idle_unprotected_chunks_each_once_or_nothing(data):
    policy, keys = policy_of(12)
    for key in data.draw(st.lists(st.sampled_from(keys), max_size=20)):
        if policy.get(key).ref_cnt:
            policy.get(key).ref_cnt = 0
            policy.mark_evictable(key)
        else:
            policy.get(key).ref_cnt = 1
            policy.mark_non_evictable(key)
    for row, numbers in enumerate(data.draw(st.lists(st.lists(st.integers(0, 11), max_size=3), max_size=4))):
        policy.uses.add(str(row), [bytes([number]) for number in numbers])
    while True:
        count, protected = (
            data.draw(st.integers(1, 4)),
            set(data.draw(st.lists(st.sampled_from(keys), max_size=3))),
        )
        free = {key for key in policy.chunks if not policy.get(key).ref_cnt} - protected
        before, found = set(policy.chunks), policy.evict(count, protected)
        assert (found is None) == (len(free) < count)
        if found is None:
            assert set(policy.chunks) == before
            break
        gone = [key for key, _ in found]
        assert len(set(gone)) == count
        assert set(gone) <= free
        if policy.uses:
            next_use = [policy.uses.of(key[:-4])[1] for key in gone]
            left = [policy.uses.of(key[:-4])[1] for key in free - set(gone)]
            assert not left or max(left) <= min(next_use)
