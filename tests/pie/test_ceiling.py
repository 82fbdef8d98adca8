import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_llm.costmodel.link import Link
from spark_llm.pie.ceiling import PassCost, expansion_ceiling

GB = 1e9


@pytest.mark.parametrize(
    ("weights", "near", "link", "device", "extra_s", "expected"),
    [
        (80, 10, 419, 4000, 0, 2.05),
        (70, 20, 419, 4000, 0, 1.53),
        (26, 60, 419, 4000, 0, 1.17),
        (16, 100, 50, 4800, 0, 1.01),
        (70, 55, 50, 4800, 0, 1.02),
        (120, 10, 50, 4800, 0, 1.14),
        (16, 100, 50, 4800, 0.10, 1.06),
        (16, 20, 50, 4800, 0.10, 1.27),
        (70, 55, 50, 4800, 0.25, 1.25),
        (70, 20, 50, 4800, 0.25, 1.68),
    ],
)
def test_values_worked_out_by_hand(weights, near, link, device, extra_s, expected):
    found = expansion_ceiling(weights * GB, near * GB, link * GB, device * GB, extra_s)
    assert found == pytest.approx(expected, abs=0.005)


@given(
    weights=st.floats(1, 200),
    near=st.floats(1, 200),
    link=st.floats(1, 900),
    extra_s=st.floats(0, 1),
)
def test_at_the_ceiling_copies_take_as_long_as_the_pass(weights, near, link, extra_s):
    e = expansion_ceiling(weights * GB, near * GB, link * GB, 4000 * GB, extra_s)
    pass_s = (weights + e * near) / 4000 + extra_s
    assert near * (e - 1) / link == pytest.approx(pass_s, rel=1e-6)
    assert e >= 1


def test_a_link_as_fast_as_the_memory_has_no_ceiling():
    assert expansion_ceiling(1, 1, 10, 10) == math.inf


@pytest.mark.parametrize("bad", [(0, 1, 1, 1), (1, -1, 1, 1), (1, 1, 0, 1), (1, 1, 1, 0), (1, 1, 1, 1, -1)])
def test_sizes_that_make_no_sense_are_refused(bad):
    with pytest.raises(ValueError, match="must be positive"):
        expansion_ceiling(*bad)


def test_the_best_layout_is_the_last_whose_copies_hide_and_one_more_loses():
    cost = PassCost(80, 80 * GB, 10 * GB, 4000 * GB, Link(0, 419 * GB, 419 * GB), written_share=0)
    best = cost.best_away()
    assert cost.expansion(best) == 2.0
    assert cost.copy_s(best) <= 1.01 * cost.compute_s(best)
    assert cost.gain(best + 2) < cost.gain(best) > cost.gain(best - 2)
    assert cost.gain(best) == pytest.approx(1.8, rel=0.01)


def test_a_slow_link_leaves_nothing_away():
    cost = PassCost(32, 16 * GB, 100 * GB, 4800 * GB, Link(0, 50 * GB, 50 * GB))
    assert cost.best_away() == 0
    assert cost.gain(0) == 1
    assert cost.copy_s(0) == 0


def test_what_a_pass_writes_takes_the_link_too():
    link = Link(0, 100 * GB, 100 * GB, duplex_share=0.5)
    reads, all_written = (
        PassCost(32, 16 * GB, 10 * GB, 4800 * GB, link, written_share=share) for share in (0.0, 1.0)
    )
    assert all_written.copy_s(4) == pytest.approx(2 * reads.copy_s(4))
