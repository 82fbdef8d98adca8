import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_llm.costmodel.link import Link
from spark_llm.pie import rivals
from spark_llm.pie.ceiling import PassCost
from spark_llm.pie.layout import away_for, aways, spread
from spark_llm.pie.rotate import Copy
from spark_llm.pie.simulate import SwapSimulation
from spark_llm.pie.streams import Streams

GB = 1e9
FAST = Link(1e-6, 400 * GB, 400 * GB)
STARVED = PassCost(24, 80 * GB, 10 * GB, 4000 * GB, FAST)


def warm(cost, layout, passes=4, **options):
    simulation = SwapSimulation(cost, layout, **options)
    simulation.run(3)
    return simulation.run(passes)


@settings(max_examples=40, deadline=None)
@given(
    layers=st.integers(8, 32),
    weights=st.floats(10, 120),
    near=st.floats(5, 60),
    bandwidth=st.floats(50, 600),
    extra_s=st.floats(0, 0.1),
    turning=st.booleans(),
    data=st.data(),
)
def test_nothing_waits_below_the_ceiling_and_something_does_above(
    layers, weights, near, bandwidth, extra_s, turning, data
):
    link = Link(0, bandwidth * GB, bandwidth * GB)
    cost = PassCost(layers, weights * GB, near * GB, 4000 * GB, link, extra_s, turning=turning)
    # What moves beside the layers away are those in slots: a cost of few layers, which the closed form
    # leaves out.
    fits = [away for away in aways(layers, 2, turning) if cost.copy_s(away) <= 0.95 * cost.compute_s(away)]
    away = data.draw(st.sampled_from(fits))
    assert cost.expansion(away) <= cost.ceiling()
    assert warm(cost, spread(layers, away, 2, turning)).stalls == 0
    beyond = [away for away in aways(layers, 2, turning) if cost.expansion(away) >= 1.1 * cost.ceiling()]
    if beyond:
        window = warm(cost, spread(layers, beyond[0], 2, turning))
        assert window.stalls > 0
        assert window.seconds / window.passes == pytest.approx(cost.copy_s(beyond[0]), rel=0.1)


def test_a_layout_within_95_percent_of_the_ceiling_does_not_wait():
    away = away_for(24, 0.95 * STARVED.ceiling())
    window = warm(STARVED, spread(24, away))
    assert (away, window.stalls, window.stall_s) == (10, 0, 0)
    assert window.copies == 4 * (away + 2)
    assert window.rows == 4 * 24 / 14


def test_the_model_of_a_pass_is_what_the_simulated_engine_does():
    for away in aways(24)[1:]:
        window = warm(STARVED, spread(24, away), 6)
        assert window.seconds / 6 == pytest.approx(STARVED.seconds(away), rel=0.06)


def test_moving_every_layer_and_waiting_for_all_are_slower():
    away, off = 12, rivals.prefix_tier_rate(STARVED)
    ours = warm(STARVED, spread(24, away)).rows_per_s
    every = warm(STARVED, rivals.every_layer(24, away))
    assert every.copies == 4 * 23
    assert ours > 1.5 * off > off > every.rows_per_s > rivals.blocking_rate(STARVED, away)


def test_copies_only_from_the_pass_s_begin_wait_at_the_ceiling():
    away = STARVED.best_away()
    assert (
        warm(STARVED, spread(24, away)).seconds < warm(STARVED, spread(24, away), across_passes=False).seconds
    )


def test_another_number_of_layers_away_costs_the_move():
    simulation = SwapSimulation(STARVED, spread(24, 4))
    before_s = simulation.now_s
    simulation.relayout(4)
    assert simulation.now_s == before_s
    simulation.relayout(8)
    assert simulation.now_s == pytest.approx(before_s + 4 * (10 * GB / 20) / (400 * GB), rel=0.01)
    assert simulation.layout == spread(24, 8)


def test_a_slower_link_takes_longer():
    simulation = SwapSimulation(STARVED, spread(24, 10))
    simulation.run(3)
    fast = simulation.run(3)
    simulation.change_link(0.25)
    assert simulation.run(6).stall_share > fast.stall_share == 0


def test_streams_share_the_link_while_both_move():
    streams = Streams(Link(0, 10, 10, duplex_share=0.5))
    inbound, outbound = Copy(1, 0, True, 0), Copy(2, 1, False, 0)
    streams.start(inbound, 10)
    streams.start(outbound, 5)
    assert streams.next_end_s() == pytest.approx(1.0)
    assert streams.advance(1.0) == [outbound]
    assert streams.next_end_s() == pytest.approx(1.5)
    assert streams.advance(1.5) == [inbound]
    assert (streams.next_end_s(), streams.moved_bytes, streams.busy_s) == (None, 15, 1.5)


def test_a_stream_takes_one_copy_at_a_time():
    streams = Streams(FAST)
    streams.start(Copy(1, 0, True, 0), 10)
    with pytest.raises(ValueError, match="the link is busy"):
        streams.start(Copy(2, 1, True, 0), 10)
