"""Rendering with any field order, with any_order groups and with NULLs."""

import json

from hypothesis import given
from hypothesis import strategies as st
from worker_helpers import field_text

from spark_llm.prompts import Renderer

NAMES = ["q", "ctx1", "ctx2", "ctx3", "tail"]


def pairs(user):
    return json.JSONDecoder(object_pairs_hook=list).decode(user.split("\n", 1)[1])


@st.composite
def rows(draw):
    count = draw(st.integers(1, 6))
    values = draw(
        st.lists(st.none() | st.integers(0, 3) | st.text(max_size=3), min_size=count, max_size=count)
    )
    return values, draw(st.permutations(range(count)))


@given(rows())
def test_fields_stand_in_their_order_and_nulls_are_left_out(row):
    values, order = row
    names = [f"n{place}%s" for place in range(len(values))]
    user = Renderer(names).form(order).user("x", [*map(field_text, values)])
    expected = [[names[place], values[place]] for place in order if values[place] is not None]
    assert [list(pair) for pair in (pairs(user) if user else [])] == expected


@given(
    st.lists(st.none() | st.sampled_from("abc"), min_size=5, max_size=5),
    st.permutations(range(5)),
    st.permutations(range(1, 4)),
)
def test_values_of_a_group_move_and_its_names_stay(values, order, moved):
    sources = [0, *moved, 4]
    form = Renderer(NAMES, [[1, 2, 3]]).form(order)
    user = form.user("x", [*map(field_text, values)], sources)
    found = [] if user is None else [tuple(pair) for pair in pairs(user)]
    group = [name for name, _ in found if name.startswith("ctx")]
    # Names of the group are the first ones, in written order, whatever is NULL and whichever goes first.
    assert group == NAMES[1 : 1 + len(group)]
    # The group's values come in the order of the places that they were moved to.
    expected = [values[sources[place]] for place in order if 1 <= place <= 3]
    assert [value for name, value in found if name.startswith("ctx")] == [
        v for v in expected if v is not None
    ]
    rest = [(NAMES[place], values[place]) for place in order if place in {0, 4} and values[place] is not None]
    assert [pair for pair in found if not pair[0].startswith("ctx")] == rest


def test_a_form_is_made_once_per_order():
    renderer = Renderer(["a", "b"])
    assert renderer.form([1, 0]) is renderer.form((1, 0))
    assert renderer.form([0, 1]) is renderer.form()
    assert renderer.form([1, 0]).user("x", ['{"v":1}', '{"v":2}']) == 'x\n{"b": 2, "a": 1}'
