"""Blocks that move nothing are handed out first, and how many rows may have follows the stalls."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("vllm")
pytestmark = pytest.mark.vllm

RESIDENT = 7


@pytest.fixture(scope="module")
def vllms():
    from vllm.v1.core import kv_cache_utils

    from spark_llm.pie.vllm_admission import NearFirstQueue

    return kv_cache_utils, NearFirstQueue


@given(
    st.lists(
        st.tuples(st.sampled_from(["take", "free", "first", "remove", "one"]), st.integers(0, 30)),
        max_size=40,
    )
)
def test_a_queue_hands_out_near_blocks_first_and_the_oldest_of_them(vllms, moves):
    utils, near_first = vllms
    blocks = [utils.KVCacheBlock(at) for at in range(20)]
    queue, taken = near_first(list(blocks), RESIDENT), []
    # Two lists, each in the order of vLLM's own queue.
    free = {True: list(range(RESIDENT)), False: list(range(RESIDENT, 20))}
    for what, at in moves:
        everything = free[True] + free[False]
        if what == "take" and everything:
            count = at % len(everything) + 1
            found = [block.block_id for block in queue.popleft_n(count)]
            assert found == everything[:count]
        elif what == "one" and everything:
            found = [queue.popleft().block_id]
            assert found == everything[:1]
        elif what == "remove" and everything:
            found = [everything[at % len(everything)]]
            queue.remove(blocks[found[0]])
        elif what in ("free", "first") and taken:
            back, taken = taken[: at % len(taken) + 1], taken[at % len(taken) + 1 :]
            (queue.append_n if what == "free" else queue.prepend_n)([blocks[number] for number in back])
            for near in (True, False):
                some = [number for number in back if (number < RESIDENT) == near]
                free[near] = free[near] + some if what == "free" else some + free[near]
            continue
        else:
            continue
        taken += found
        for near in (True, False):
            free[near] = [number for number in free[near] if number not in found]
        everything = free[True] + free[False]
        assert [block.block_id for block in queue.get_all_free_blocks()] == everything
        assert queue.num_free_blocks == len(everything)
        assert queue.used_blocks == len(taken)
        queue.limit_blocks = len(taken) + 2
        assert queue.num_free_blocks == min(2, len(everything))
        queue.limit_blocks = 0
        assert queue.num_free_blocks == 0
        queue.limit_blocks = None


def figures(stall_s, forward_s):
    from spark_llm.pie.copier import CopyFigures
    from spark_llm.pie.vllm_layers_connector import SwapFigures

    return SwapFigures(CopyFigures(stall_s=stall_s, load_s=stall_s), forward_s)


def test_the_cap_follows_the_stalls_of_a_window():
    from spark_llm.pie.admission import AdmissionCap
    from spark_llm.pie.vllm_admission import WINDOW_STEPS, SwapWindows

    windows = SwapWindows(AdmissionCap(10, 74, 74))
    # The engine's figures are sums since it started.
    for step in range(1, WINDOW_STEPS + 1):
        assert windows.cap.blocks == 74
        windows.add(70, figures(0.1 * step, 1.0 * step))
    assert windows.stall_share == pytest.approx(0.1)
    cut = windows.cap.blocks
    assert 10 <= cut < 70
    for step in range(20 * WINDOW_STEPS):
        windows.add(windows.cap.blocks, figures(0.8, 8.0 + step))
    assert windows.stall_share == 0
    assert windows.cap.blocks > cut
    fixed = SwapWindows(AdmissionCap(10, 74), adapts=False)
    for step in range(WINDOW_STEPS):
        fixed.add(70, figures(step, step))
    assert fixed.stall_share == 1
    assert fixed.cap.blocks == 74
