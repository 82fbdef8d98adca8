import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_llm.pie.layout import SlotLayout, away_for, aways, spread


@st.composite
def layouts(draw):
    layers, slots, turning = draw(st.integers(2, 100)), draw(st.integers(2, 4)), draw(st.booleans())
    return spread(layers, draw(st.sampled_from(aways(layers, slots, turning))), slots, turning)


@given(layout=layouts())
def test_spread_layers_are_never_layer_0_and_evenly_apart(layout):
    gaps = [after - before for before, after in zip(layout.swapped, layout.swapped[1:], strict=False)]
    assert 0 not in layout.swapped
    assert not gaps or max(gaps) - min(gaps) <= 1
    assert layout.expansion == layout.layers / (layout.layers - layout.away)
    assert layout.near_layers >= 2
    if layout.swapped:
        assert layout.swapped[-1] == layout.layers - 1
        assert len(layout.swapped) == layout.away + layout.slots


@given(layout=layouts())
def test_neighbours_have_different_slots_and_all_passes_the_same(layout):
    if layout.turning or not layout.swapped:
        return
    slots = [layout.slot(layer) for layer in layout.swapped]
    assert all(before != after for before, after in zip(slots, slots[1:] + slots[:1], strict=True))
    assert sorted(layer for slot in range(layout.slots) for layer in layout.on_slot(slot)) == list(
        layout.swapped
    )
    assert layout.slot(0) is None


@given(layers=st.integers(2, 100), expansion=st.floats(1, 12), turning=st.booleans())
def test_the_layers_away_for_an_expansion_do_not_exceed_it_and_the_next_would(layers, expansion, turning):
    away, allowed = away_for(layers, expansion, 2, turning), aways(layers, 2, turning)
    assert layers / (layers - away) <= expansion or away == 0
    after = [more for more in allowed if more > away][:1]
    assert all(layers / (layers - more) > expansion for more in after)


@pytest.mark.parametrize(
    ("layers", "swapped", "slots", "message"),
    [
        (8, (0, 2, 4), 2, "not include layer 0"),
        (8, (3, 2, 4), 2, "must ascend"),
        (8, (2, 2, 4), 2, "must ascend"),
        (8, (2, 4, 8), 2, "up to layer 8"),
        (8, (2, 4), 2, "save nothing with 2 slots"),
        (8, (2, 4, 6), 1, "at least 2"),
    ],
)
def test_layouts_that_cannot_be_are_refused(layers, swapped, slots, message):
    with pytest.raises(ValueError, match=message):
        SlotLayout(layers, swapped, slots)


def test_what_cannot_be_spread_is_refused_with_what_can():
    with pytest.raises(ValueError, match=r"3 layers away; allowed for 8 with 2 slots: \[0, 2, 4\]"):
        spread(8, 3)
    assert spread(8, 3, turning=True).away == 3


def test_slots_taken_in_turn_are_no_layers_own():
    with pytest.raises(ValueError, match="none of its own"):
        spread(8, 3, turning=True).slot(1)
