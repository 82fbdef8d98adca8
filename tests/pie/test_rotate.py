import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_llm.pie.layout import aways, spread
from spark_llm.pie.residency import ResidencyError
from spark_llm.pie.rotate import Rotation


def run(rotation, passes, choose):
    """An engine whose copies end in any order that streams allow; returns what happened."""
    happened, under_way = [], []
    for _ in range(passes):
        rotation.begin_pass()
        under_way += rotation.copies()
        for layer in range(rotation.layout.layers):
            while under_way and (not rotation.ready(layer) or choose()):
                copy = under_way.pop(0 if choose() else -1)
                rotation.finished(copy)
                happened.append(copy)
                under_way += rotation.copies()
            assert sum(copy.inbound for copy in under_way) <= 1
            assert len(under_way) <= 2
            rotation.before_layer(layer)
            happened.append(layer)
            rotation.after_layer(layer)
            under_way += rotation.copies()
    return happened


@st.composite
def rotations(draw):
    layers, turning = draw(st.integers(5, 16)), draw(st.booleans())
    away = draw(st.sampled_from(aways(layers, 2, turning)[1:]))
    return Rotation(
        spread(layers, away, 2, turning), across_passes=draw(st.booleans()), writes=draw(st.booleans())
    )


@settings(max_examples=40, deadline=None)
@given(rotation=rotations(), data=st.randoms(use_true_random=False))
def test_whatever_copies_take_no_layer_is_used_that_is_away_and_each_comes_in_once_a_pass(rotation, data):
    # `before_layer` refuses a layer that is away, `run` would not end if a layer never came.
    passes = 4
    happened = run(rotation, passes, lambda: data.random() < 0.5)
    swapped = rotation.layout.swapped
    ins = [copy.layer for copy in happened if not isinstance(copy, int) and copy.inbound]
    assert ins == [swapped[at % len(swapped)] for at in range(len(ins))]
    assert passes * len(swapped) <= len(ins) <= passes * len(swapped) + rotation.layout.slots
    if not rotation._across:
        assert rotation.loads == passes * len(swapped)


def test_only_the_layers_that_have_to_move_do():
    rotation = Rotation(spread(40, 10))
    run(rotation, 10, lambda: True)
    assert 120 <= rotation.loads <= 122


def test_the_next_layer_comes_in_while_others_compute_and_what_was_written_goes_out_first():
    rotation = Rotation(spread(9, 2))
    assert rotation.layout.swapped == (2, 4, 6, 8)
    rotation.begin_pass()
    (first,) = rotation.copies()
    assert (first.layer, first.slot, first.inbound) == (2, 0, True)
    assert rotation.copies() == []
    assert rotation.ready(0)
    assert not rotation.ready(2)
    rotation.finished(first)
    (second,) = rotation.copies()
    assert (second.layer, second.slot) == (4, 1)
    rotation.finished(second)
    assert rotation.copies() == []
    for layer in range(3):
        rotation.before_layer(layer)
        rotation.after_layer(layer)
    (out,) = rotation.copies()
    assert (out.layer, out.slot, out.inbound) == (2, 0, False)
    rotation.finished(out)
    (third,) = rotation.copies()
    assert (third.layer, third.slot, third.inbound) == (6, 0, True)


def test_an_engine_that_learns_its_blocks_with_the_pass_begins_then():
    counts = {}
    for across in (True, False):
        rotation = Rotation(spread(9, 2), across_passes=across, writes=False)
        run(rotation, 1, lambda: True)
        counts[across] = rotation.loads
    assert counts == {True: 6, False: 4}


def test_with_nothing_away_nothing_moves():
    rotation = Rotation(spread(9, 0))
    assert run(rotation, 2, lambda: True) == [*range(9), *range(9)]


def test_a_copy_that_is_not_under_way_cannot_end():
    rotation = Rotation(spread(9, 2))
    rotation.begin_pass()
    (copy,) = rotation.copies()
    rotation.finished(copy)
    with pytest.raises(ResidencyError, match="not under way"):
        rotation.finished(copy)
