"""Transfers one way, both ways, and in turns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_llm.costmodel.link import LINKS, PCIE5_X16, Link

FULL = Link(1e-3, 10.0, 5.0)
HALF = Link(1e-3, 10.0, 5.0, duplex_share=0.5)


def test_seconds() -> None:
    assert FULL.seconds(0) == 0.0
    assert FULL.seconds(20) == pytest.approx(2.001)
    assert FULL.seconds(20, 20) == pytest.approx(4.001)
    assert HALF.seconds(20, 20) == pytest.approx(6.001)
    # The published sum of both directions, when as much goes each way.
    assert 2 * 50e9 / (PCIE5_X16.seconds(50e9, 50e9) - PCIE5_X16.latency_s) == pytest.approx(83.4e9)


@given(st.floats(0, 1e12), st.floats(0, 1e12), st.sampled_from(sorted(LINKS)))
def test_both_ways_cost_between_the_longer_and_the_sum(down: float, up: float, name: str) -> None:
    link = LINKS[name]
    both, one, other = link.seconds(down, up), link.seconds(down), link.seconds(0, up)
    assert max(one, other) <= both * (1 + 1e-12)
    assert both <= (one + other) * (1 + 1e-12)


def test_what_a_link_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="bandwidths must be positive"):
        Link(0.0, 0.0, 1.0)
    with pytest.raises(ValueError, match=r"duplex_share is 0\.4"):
        Link(0.0, 1.0, 1.0, duplex_share=0.4)
