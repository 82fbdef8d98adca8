from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_configs import CONFIGS

from spark_llm.jenga.association import Association
from spark_llm.jenga.hf_config import from_config
from spark_llm.jenga.pages import ALIGN_BYTES, MAX_PADDING, MAX_RATIO, MIN_LARGE_PAGES, plan_pages
from spark_llm.jenga.pool import LcmPool
from spark_llm.jenga.specs import KVSpec, LayerType


def full(layers, token_bytes=4096):
    return KVSpec(LayerType.FULL, layers, token_bytes=token_bytes)


def state(layers, state_bytes):
    return KVSpec(LayerType.STATE_SPACE, layers, state_bytes=state_bytes)


def test_the_papers_example():
    plan = plan_pages([full(1, 256), full(1, 384)], block_tokens=1)
    assert (plan.small_bytes, plan.large_bytes, plan.ratios, plan.waste) == ((256, 384), 768, (3, 2), 0)


spec = st.one_of(
    st.builds(full, st.integers(1, 80), st.sampled_from([576, 1024, 2048, 4096, 8192, 1152])),
    st.builds(state, st.integers(1, 80), st.integers(1, 3_000_000)),
)


@settings(deadline=None)
@given(st.lists(spec, min_size=1, max_size=4), st.sampled_from([16, 128]))
def test_a_large_page_holds_whole_small_pages_and_little_else(specs, block_tokens):
    plan = plan_pages(specs, block_tokens=block_tokens)
    for at, (small, ratio, pad) in enumerate(
        zip(plan.small_bytes, plan.ratios, plan.padding_bytes, strict=True)
    ):
        content = specs[at].layers * specs[at].unit_bytes * plan.block_tokens[at]
        assert content <= small < content + specs[at].layers * ALIGN_BYTES
        assert ratio * small + pad == plan.large_bytes
        assert 0 <= pad <= MAX_PADDING * plan.large_bytes
    smallest, largest = min(plan.small_bytes), max(plan.small_bytes)
    assert max(plan.ratios) <= max(MAX_RATIO, largest / smallest / MAX_PADDING)


@pytest.mark.parametrize("name", CONFIGS)
def test_well_known_models_waste_less_than_one_percent(name):
    assert plan_pages(from_config(CONFIGS[name])).waste < 0.01


def test_beyond_the_ratio_a_little_is_padded_instead():
    exact = plan_pages([full(4), state(28, 311296)], max_ratio=200)
    capped = plan_pages([full(4), state(28, 311296)])
    assert (exact.ratios, exact.waste) == ((133, 4), 0)
    assert capped.ratios == (33, 1)
    assert 0 < capped.waste <= MAX_PADDING


def test_little_memory_is_cut_into_groups():
    specs = [full(4), KVSpec(LayerType.SLIDING_WINDOW, 7, token_bytes=4096, window_tokens=128)]
    assert plan_pages(specs).ratios == (7, 4)
    memory = plan_pages(specs).large_bytes * (MIN_LARGE_PAGES - 1)
    plan = plan_pages(specs, memory_bytes=memory)
    assert plan.ratios == (1,) * 11
    assert plan.large_pages(memory) == 28 * (MIN_LARGE_PAGES - 1)
    assert plan_pages(specs, memory_bytes=2 * memory).ratios == (7, 4)


def test_a_model_of_one_group_cannot_be_cut_further():
    assert plan_pages([full(1)], memory_bytes=1).ratios == (1,)


def test_no_types_are_refused():
    with pytest.raises(ValueError, match="empty list"):
        plan_pages([])


def test_association_by_what_a_request_fills():
    association = Association(ratios=(4, 100), expected_pages=(4, 10))
    assert association.by_request == (True, False)
    assert association.wave_rows == 10
    owners = [association.admit(row) for row in range(21)]
    assert len({request for request, _ in owners}) == 21
    waves = [wave for _, wave in owners]
    assert [waves.count(wave) for wave in dict.fromkeys(waves)] == [10, 10, 1]
    assert association.admit(3) == owners[3]


def test_a_waves_holes_are_its_own_until_its_last_request_ends():
    pool, association = LcmPool(4, (4,)), Association((4,), (1,))
    taken = {row: pool.allocate(0, *association.admit(row)) for row in range(4)}
    assert {page // 4 for page in taken.values()} == {taken[0] // 4}
    later = {row: pool.allocate(0, *association.admit(row)) for row in range(4, 6)}
    assert {page // 4 for page in later.values()} == {later[4] // 4} != {taken[0] // 4}
    for row in (4, 0, 1, 2):
        pool.free(0, {**taken, **later}[row])
        association.finish(row, pool)
    # Holes in both large pages; an owner of nothing takes those that nobody else will.
    assert pool.allocate(0, None) // 4 not in {taken[0] // 4, later[4] // 4}
    pool.free(0, taken[3])
    association.finish(3, pool)
    assert pool.free_large_pages == 2


def test_waves_are_numbered_in_order():
    association = Association((8,), (4,))
    waves = [association.admit(row)[0][1] for row in range(8)]
    assert all(after - before in (0, 1) for before, after in pairwise(waves))
