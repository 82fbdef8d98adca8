import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_configs import CONFIGS

from spark_llm.jenga.association import WAVE_LARGE_PAGES, Association
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
        assert ratio * plan.stride_bytes[at] == plan.large_bytes
        assert plan.stride_bytes[at] % ALIGN_BYTES == 0
        assert plan.layer_bytes[at] * specs[at].layers == small
        assert plan.layer_bytes[at] % ALIGN_BYTES == 0
    smallest, largest = min(plan.small_bytes), max(plan.small_bytes)
    few = max(MAX_RATIO, 4 / MAX_PADDING * largest / smallest)
    assert max(plan.ratios) <= few or set(plan.padding_bytes) == {0}


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
    rows = association.wave_rows
    assert rows == WAVE_LARGE_PAGES * 10
    owners = [association.admit(row) for row in range(2 * rows + 1)]
    assert len({request for request, _ in owners}) == 2 * rows + 1
    waves = [wave for _, wave in owners]
    assert [waves.count(wave) for wave in dict.fromkeys(waves)] == [rows, rows, 1]
    assert association.admit(3) == owners[3]


def test_a_waves_holes_are_its_own_until_its_last_request_ends():
    pool, association = LcmPool(4, (40,)), Association((40,), (20,))
    rows = association.wave_rows
    taken = {row: pool.allocate(0, *association.admit(row)) for row in range(rows + 1)}
    first, second = taken[0] // 40, taken[rows] // 40
    assert {page // 40 for row, page in taken.items() if row < rows} == {first} != {second}
    for row in range(1, rows):
        pool.free(0, taken[row])
        association.finish(row, pool)
    # Only holes of owners that have gone are for a page without an owner.
    other = pool.allocate(0, None)
    assert other // 40 not in {first, second}
    pool.free(0, other)
    pool.free(0, taken[0], (1, 0))
    association.finish(0, pool)
    assert pool.allocate(0, None) // 40 == first
