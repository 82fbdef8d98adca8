import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_llm.costmodel.link import Link
from spark_llm.pie.admission import AdmissionCap
from spark_llm.pie.ceiling import PassCost
from spark_llm.pie.simulate_cap import CapSimulation, resident_blocks

GB = 1e9


@settings(max_examples=60, deadline=None)
@given(
    bounds=st.tuples(st.integers(1, 500), st.integers(0, 500)),
    windows=st.lists(
        st.tuples(
            st.integers(0, 1000), st.floats(0, 1), st.floats(0, 1), st.one_of(st.none(), st.floats(0, 2))
        ),
        max_size=30,
    ),
)
def test_it_stays_within_its_bounds(bounds, windows):
    cap = AdmissionCap(bounds[0], sum(bounds))
    for used, stall_s, seconds, copy_s in windows:
        found = cap.update(used, min(stall_s, seconds), seconds, copy_s)
        assert found == cap.blocks
        assert cap.min_blocks <= found <= cap.max_blocks


@pytest.mark.parametrize("bounds", [(0, 10), (11, 10)])
def test_bounds_that_cannot_be_are_refused(bounds):
    with pytest.raises(ValueError, match="allowed: 1 to max_blocks=10"):
        AdmissionCap(*bounds)


def test_it_goes_to_where_copies_take_as_long_as_the_computation():
    cap = AdmissionCap(100, 1000)
    for _ in range(20):
        # A second of computation, and 2.5 ms of copies for each block above.
        copy_s = 0.0025 * (cap.blocks - 100)
        cap.update(cap.blocks, max(copy_s - 1, 0), max(copy_s, 1.0), copy_s)
    assert cap.blocks == pytest.approx(500, abs=5)


def test_growing_it_at_most_doubles_what_moves():
    cap = AdmissionCap(100, 1000, 200)
    assert cap.update(200, 0.0, 1.0, 0.001) == 300


def test_what_did_not_limit_does_not_rise():
    cap = AdmissionCap(100, 1000, 400)
    assert cap.update(150, 0.0, 1.0, 0.001) == 400
    assert cap.update(150, 0.0, 1.0) == 400


def test_a_slower_link_cuts_it_in_one_window():
    cap = AdmissionCap(100, 1000, 900)
    assert cap.update(900, 0.75, 1.0, 1.0) == 300


def test_without_timed_copies_it_rises_slowly_falls_at_once_and_waits_longer_each_time():
    cap, waited = AdmissionCap(100, 1060), []
    for _ in range(9):
        assert cap.update(cap.blocks, 1.0, 1.0) == 100
        quiet = 0
        while cap.update(cap.blocks, 0.0, 1.0) == 100:
            quiet += 1
        assert cap.blocks == 130
        waited.append(quiet)
    assert waited == [1, 2, 4, 8, 16, 32, 64, 64, 64]
    for _ in range(10):
        cap.update(cap.blocks, 0.0, 1.0)
    assert cap.update(cap.blocks, 0.1, 1.0) == 100 + int(330 * 0.85)
    assert cap.update(cap.blocks, 0.0, 1.0) == cap.update(cap.blocks, 0.0, 1.0) - 30


@settings(max_examples=30, deadline=None)
@given(
    weights=st.floats(10, 120),
    near=st.floats(5, 100),
    modelled=st.floats(30, 450),
    speed=st.sampled_from([0.1, 0.25, 0.5, 1, 2]),
)
def test_it_is_never_slower_than_without_by_more_than_2_percent(weights, near, modelled, speed):
    layers, blocks = 40, 20_000
    cost = PassCost(layers, weights * GB, near * GB, 4000 * GB, Link(0, modelled * GB, modelled * GB))
    expansion = min(cost.ceiling(), layers / 3)
    cap = AdmissionCap(resident_blocks(blocks, layers, expansion, 2), int(blocks * expansion))
    real = PassCost(
        layers, weights * GB, near * GB, 4000 * GB, Link(0, speed * modelled * GB, speed * modelled * GB)
    )
    simulation = CapSimulation(real, cap, blocks)
    rows, seconds = simulation.run(250)
    assert rows / seconds > 0.98 / cost.compute_s(0)
