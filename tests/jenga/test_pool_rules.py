"""The rules of the pool one by one; `test_pool.py` checks that they hold together."""

import random
import sys

import pytest

from spark_llm.jenga import bag, pool
from spark_llm.jenga.pool import CACHED, EMPTY, USED, LcmPool, OutOfPagesError

A, B = 0, 1


def large(page, ratio):
    return page // ratio


def test_step_1_a_hole_of_the_same_owner_before_an_empty_large_page():
    pages = LcmPool(3, (2, 3))
    first, other, second = pages.allocate(A, "r"), pages.allocate(A, "s"), pages.allocate(A, "r")
    assert large(first, 2) == large(second, 2) != large(other, 2)


def test_step_2_an_empty_large_page_before_evicting_one():
    dropped = []
    pages = LcmPool(3, (2, 3), on_evict=lambda *at: dropped.append(at))
    cached = pages.allocate(A, "r")
    pages.free(A, cached, (1, 0))
    assert large(pages.allocate(B, "s"), 3) != large(cached, 2)
    assert dropped == []


def test_step_3_the_evictable_large_page_with_the_lowest_key_whatever_its_type():
    dropped = []
    pages = LcmPool(3, (2, 3), on_evict=lambda *at: dropped.append(at))
    for kind, key in ((A, (3, 0)), (B, (1, -32)), (A, (1, -16))):
        pages.free(kind, pages.allocate(kind, key), key)
    pages.allocate(A, "r")
    assert [kind for kind, _ in dropped] == [B]
    pages.allocate(B, "s")
    assert [kind for kind, _ in dropped] == [B, A]
    assert pages.free_large_pages == 1


def test_a_large_page_is_worth_its_most_valuable_small_page():
    dropped = []
    pages = LcmPool(2, (2,), on_evict=lambda *at: dropped.append(at))
    old, new, middle = pages.allocate(A, "r"), pages.allocate(A, "r"), pages.allocate(A, "s")
    for page, key in ((old, (1, 0)), (new, (9, 0)), (middle, (5, 0))):
        pages.free(A, page, key)
    pages.allocate(A, "t")
    assert dropped == [(A, middle)]


def test_all_types_of_a_prefix_leave_together():
    dropped = []
    pages = LcmPool(4, (1, 1), on_evict=lambda *at: dropped.append(at))
    of = {}
    for access in (1, 2):
        for kind in (A, B):
            of[kind, access] = pages.allocate(kind, access)
    for (kind, access), page in of.items():
        pages.free(kind, page, (access, -16))
    pages.allocate_all([2, 0], ["r", "r"])
    assert sorted(dropped) == [(A, of[A, 1]), (B, of[B, 1])]


def test_step_4_another_owners_hole_before_losing_content_and_first_where_the_owner_has_gone():
    for gone, stays in (("r", "s"), ("s", "r")):
        pages = LcmPool(2, (3,))
        at = {owner: large(pages.allocate(A, owner), 3) for owner in "rs"}
        pages.release(gone)
        assert large(pages.allocate(A, "t"), 3) == at[gone]
        pages.free(A, pages.allocate(A, "t"), (1, 0))
        assert large(pages.allocate(A, "t"), 3) == at[stays]
        assert pages.cached_pages(A) == 1


def test_step_5_the_cached_page_with_the_lowest_key():
    dropped = []
    pages = LcmPool(1, (3,), on_evict=lambda *at: dropped.append(at))
    held = [pages.allocate(A, "r") for _ in range(3)]
    pages.free(A, held[0], (2, 0))
    pages.free(A, held[1], (1, 0))
    assert pages.allocate(A, "s") == held[1]
    assert dropped == [(A, held[1])]
    assert pages.allocate(A, "s") == held[0]
    with pytest.raises(OutOfPagesError, match="type 0"):
        pages.allocate(A, "s")


def test_a_large_page_returns_when_and_only_when_it_is_empty():
    pages = LcmPool(1, (2, 3))
    first, second = pages.allocate(A, "r"), pages.allocate(A, "r")
    pages.free(A, first)
    with pytest.raises(OutOfPagesError):
        pages.allocate(B, "r")
    pages.free(A, second, (1, 0))
    assert pages.free_large_pages == 1
    pages.use(A, second)
    assert pages.free_large_pages == 0
    pages.free(A, second, (1, 0))
    pages.drop(A, second)
    assert pages.state(A, second) == EMPTY
    assert pages.allocate(B, "r") in range(3)


def test_owners_stay_apart_while_there_is_room_and_share_when_there_is_not():
    pages = LcmPool(2, (4,))
    pages.allocate(A, "r")
    assert pages.quotas([3]) == (1,)
    assert pages.quotas([5]) == (1,)
    pages.allocate(A, "s")
    assert pages.quotas([6]) == (0,)
    assert pages.quotas([7]) is None
    taken = pages.allocate_all([6], ["t"])[0]
    assert {large(page, 4) for page in taken} == {0, 1}


def test_hits_are_counted_out_of_what_is_free():
    pages = LcmPool(2, (2, 2))
    hit = pages.allocate(A, "r")
    pages.free(A, hit, (1, 0))
    assert pages.quotas([0, 4]) == (0, 2)
    assert pages.quotas([0, 4], [(A, hit)]) is None
    assert pages.quotas([1, 2], [(A, hit)]) == (0, 1)


def test_reserved_pages_are_never_given_out():
    pages = LcmPool(3, (2,), reserved=1)
    assert pages.free_pages(A) == 4
    assert {large(pages.allocate(A), 2) for _ in range(4)} == {1, 2}
    with pytest.raises(OutOfPagesError):
        pages.allocate(A)


def test_pages_in_the_wrong_state_are_refused():
    pages = LcmPool(1, (2,))
    page = pages.allocate(A)
    for call, says in ((pages.use, "used, expected cached"), (pages.drop, "used, expected cached")):
        with pytest.raises(ValueError, match=says):
            call(A, page)
    pages.free(A, page, (1, 0))
    assert pages.state(A, page) == CACHED
    with pytest.raises(ValueError, match="cached, expected used"):
        pages.free(A, page)
    pages.use(A, page)
    assert pages.state(A, page) == USED


@pytest.mark.parametrize("arguments", [{"ratios": ()}, {"ratios": (0,)}, {"ratios": (1,), "reserved": 3}])
def test_pools_that_cannot_be_are_refused(arguments):
    with pytest.raises(ValueError, match="2 large pages"):
        LcmPool(2, **arguments)


def lines_per_page(large_pages, pages=3000):
    """Interpreted lines of the pool per page taken or freed, in a full pool with prefixes of many ages."""
    taken = LcmPool(large_pages, (4, 3))
    rng = random.Random(1)
    held = []
    while taken.free_large_pages > 2:
        held += [(kind, taken.allocate(kind, len(held) // 64)) for kind in (A, B)]
    rng.shuffle(held)
    for at, page in enumerate(held[: len(held) // 2]):
        taken.free(*page, (at, -page[1]))
    held = held[len(held) // 2 :]
    files, lines = {pool.__file__, bag.__file__}, 0

    def trace(frame, event, _):
        nonlocal lines
        if frame.f_code.co_filename not in files:
            return None
        lines += event == "line"
        return trace

    sys.settrace(trace)
    try:
        for at in range(pages):
            taken.free(*held.pop(), (at, 0) if at % 3 else None)
            held.append((at % 2, taken.allocate(at % 2, at // 64)))
    finally:
        sys.settrace(None)
    return lines / (2 * pages)


def test_work_per_page_does_not_grow_with_the_pool():
    small, big = lines_per_page(300), lines_per_page(30_000)
    assert big < 1.5 * small
    assert big < 100


def test_stale_entries_do_not_pile_up():
    pages = LcmPool(2, (2,))
    page = pages.allocate(A, "r")
    for _ in range(10_000):
        pages.free(A, page, (1, 0))
        pages.use(A, page)
    assert len(pages._heap) + len(pages._types[A].heap) < 300
