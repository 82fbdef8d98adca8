"""Whatever the table: every row once, every field once, no cell touched, the same plan every time."""

import json
import re
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spark_llm.planner import order_table
from spark_llm.planner.policies import POLICIES

KINDS = {
    "text": (
        st.one_of(st.none(), st.sampled_from(["a", "b\nb", "", "null", "Ünïcode ✓"]), st.text(max_size=8)),
        pa.string(),
    ),
    "number": (st.one_of(st.none(), st.integers(-3, 3)), pa.int64()),
    "real": (st.sampled_from([None, 0.0, -0.0, 1.5, float("nan"), float("inf")]), pa.float64()),
    "flag": (st.one_of(st.none(), st.booleans()), pa.bool_()),
    "list": (st.one_of(st.none(), st.lists(st.integers(0, 2), max_size=2)), pa.list_(pa.int64())),
    "struct": (
        st.one_of(st.none(), st.fixed_dictionaries({"x": st.integers(0, 1)})),
        pa.struct([("x", pa.int64())]),
    ),
    "constant": (st.just("the same in every row"), pa.string()),
    "bytes": (st.one_of(st.none(), st.binary(max_size=3)), pa.binary()),
}


@st.composite
def tables(draw, max_fields=6, max_rows=30):
    rows = draw(st.integers(0, max_rows))
    kinds = draw(st.lists(st.sampled_from(sorted(KINDS)), max_size=max_fields))
    columns = {}
    for place, kind in enumerate(kinds):
        values, arrow = KINDS[kind]
        columns[f"{kind} {place}"] = pa.array(draw(st.lists(values, min_size=rows, max_size=rows)), arrow)
    return pa.table(columns)


def is_a_plan_for(order, table):
    assert sorted(order.row_indices.tolist()) == list(range(table.num_rows))
    assert {tuple(sorted(o)) for o in order.orders.tolist()} <= {tuple(range(table.num_columns))}
    assert len({tuple(o) for o in order.orders.tolist()}) == len(order.orders)
    assert order.order_index.shape == (table.num_rows,)
    assert order.group_index.shape == (table.num_rows,)
    plan = order.plan()
    assert plan["row"].to_pylist() == order.row_indices.tolist()
    assert all(sorted(fields) == sorted(table.column_names) for fields in plan["fields"].to_pylist())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tables(), st.sampled_from(POLICIES), st.integers(0, 3))
def test_any_table(table, policy, in_flight):
    order = order_table(table, policy=policy, in_flight=in_flight)
    is_a_plan_for(order, table)
    again = order_table(table, policy=policy, in_flight=in_flight)
    assert again.row_indices.tolist() == order.row_indices.tolist()
    assert again.plan().equals(order.plan())
    if order.slots is None:
        assert repr(order.apply(table).to_pylist()) == repr(
            table.take(pa.array(order.row_indices)).to_pylist()
        )


@settings(max_examples=60, deadline=None)
@given(tables(max_rows=15), st.data())
def test_pinned_fields_stay_where_they_are_pinned(table, data):
    names = data.draw(st.permutations(table.column_names))
    first = names[: data.draw(st.integers(0, min(2, len(names))))]
    last = names[len(first) :][: data.draw(st.integers(0, 2))]
    order = order_table(table, first=first, last=last, policy=data.draw(st.sampled_from(POLICIES)))
    is_a_plan_for(order, table)
    for position in range(table.num_rows):
        fields = order.field_names(position)
        assert fields[: len(first)] == list(first)
        assert fields[len(fields) - len(last) :] == list(last)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 20), st.integers(2, 5), st.sampled_from(POLICIES), st.randoms(use_true_random=False))
def test_cells_of_a_set_change_places_only(rows, width, policy, random):
    passages = ["p" * length for length in range(1, 8)]
    names = [f"context{place}" for place in range(width)]
    columns = {name: [random.choice([*passages, None]) for _ in range(rows)] for name in names}
    table = pa.table(
        {"question": [f"q{row % 4}" for row in range(rows)], **columns},
        pa.schema([(n, pa.string()) for n in ("question", *names)]),
    )
    order = order_table(table, sets=[names], policy=policy)
    is_a_plan_for(order, table)
    moved = order.apply(table).to_pylist()
    for position, row in enumerate(order.row_indices.tolist()):
        source = table.slice(row, 1).to_pylist()[0]
        assert moved[position]["question"] == source["question"]
        assert sorted(map(str, (moved[position][n] for n in names))) == sorted(
            map(str, (source[n] for n in names))
        )


def test_a_set_is_shared_whichever_field_its_passages_stand_in():
    shared = [f"Passage {pair}, retrieved for two questions. " * 4 for pair in range(20)]
    own = [f"Passage for question {row} only. " * 4 for row in range(40)]
    table = pa.table(
        {
            "c1": [shared[row // 2] if row % 2 else own[row] for row in range(40)],
            "c2": [own[row] if row % 2 else shared[row // 2] for row in range(40)],
        }
    )
    alone, together = order_table(table), order_table(table, sets=[["c1", "c2"]])
    assert alone.compute_tokens > 1.3 * together.compute_tokens


def test_200_fields():
    random = np.random.default_rng(1)
    table = pa.table(
        {f"f{place}": [f"value {v}" for v in random.integers(0, place + 2, 60)] for place in range(200)}
    )
    is_a_plan_for(order_table(table), table)


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string()), pa.string_view()]
)
def test_the_same_plan_for_every_form_of_text(kind):
    values = pa.array([["x", "y", None, "z"][row % 4] for row in range(40)])
    table = pa.table({"a": values, "b": [f"{row}" for row in range(40)]})
    other = table.set_column(
        0, "a", values.cast(kind) if kind != pa.string_view() else pa.array(values.to_pylist(), kind)
    )
    assert order_table(other).plan().equals(order_table(table).plan())


def test_chunks_make_no_difference():
    table = pa.table({"a": [["x", "y"][row % 2] for row in range(40)], "b": [row % 7 for row in range(40)]})
    chunked = pa.concat_tables([table.slice(0, 3), table.slice(3, 0), table.slice(3)])
    assert order_table(chunked).plan().equals(order_table(table).plan())


def test_equal_values_of_different_fields_are_not_shared():
    table = pa.table({"a": ["x" * 400, "y" * 400], "b": ["y" * 400, "x" * 400]})
    assert order_table(table).shared_tokens <= 64


def test_rows_that_repeat_stand_together_and_long_fields_lead():
    film = [f"A film about {row % 3}. " * 30 for row in range(30)]
    table = pa.table({"review": [f"review {row}" for row in range(30)], "film": film})
    order = order_table(table)
    assert {tuple(order.field_names(position)) for position in range(30)} == {("film", "review")}
    films = [film[row] for row in order.row_indices]
    assert sum(a != b for a, b in pairwise(films)) == 2
    assert len(set(order.group_index.tolist())) == 3
    assert order.compute_tokens < 0.4 * order.prompt_tokens


def test_where_nothing_repeats_nothing_is_reordered():
    table = pa.table({"a": [f"text number {row} of its own" for row in range(50)], "b": list(range(50))})
    order = order_table(table)
    assert order.row_indices.tolist() == list(range(50))
    assert "less than 1% of the cells' tokens repeat" in order.reason


def test_a_large_table_is_looked_at_before_it_is_encoded(monkeypatch):
    from spark_llm.planner import solve

    def encode(*_):
        raise AssertionError("encoded")

    monkeypatch.setattr(solve, "encode", encode)
    table = pa.table({"a": np.arange(120_000), "b": np.arange(120_000) * 7})
    assert "no value occurs twice among" in order_table(table).reason
    with pytest.raises(AssertionError, match="encoded"):
        order_table(table.append_column("c", pa.array(np.arange(120_000) % 1000)))


def test_exact_counts_are_used_where_they_are_given():
    table = pa.table({"a": ["one", "one", "two"], "b": [1, 2, 3]})
    order = order_table(table, count_tokens=lambda texts: np.full(len(texts), 100), instruction_tokens=0)
    assert order.prompt_tokens == 3 * 2 * (100 + 100 + 4)


def test_null_fields_that_prompts_leave_out_cost_nothing():
    table = pa.table({"a": pa.array([None, None, "x"]), "b": [1, 1, 2]})
    assert order_table(table, null_is_left_out=True).prompt_tokens < order_table(table).prompt_tokens


@pytest.mark.parametrize("policy", ["default", "thorough", "tree", "ggr", "fixed"])
def test_fields_that_repeat_only_nulls_left_out(policy):
    table = pa.table(
        {
            "city": [None, None, "a", "b", None],
            "kind": [None, "c", None, None, "a"],
            "text": ["b", None, None, None, "a"],
        }
    )
    order = order_table(table, policy=policy, sets=[["kind", "text"]], null_is_left_out=True)
    assert sorted(order.row_indices.tolist()) == [0, 1, 2, 3, 4]
    assert all(sorted(each) == [0, 1, 2] for each in order.orders.tolist())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"policy": "best"}, "unknown policy 'best'; allowed: default, thorough, tree, ggr, fixed, original"),
        ({"first": ["titel"]}, "unknown field 'titel'; the table has 'title', 'text'; did you mean 'title'?"),
        (
            {"first": ["title"], "last": ["title"]},
            "the field 'title' is named twice; sets and pinned fields may not overlap",
        ),
        (
            {"sets": [["title", "text"], ["text"]]},
            "the field 'text' is named twice; sets and pinned fields may not overlap",
        ),
    ],
)
def test_requests_without_meaning_are_refused(options, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        order_table(pa.table({"title": ["a"], "text": ["b"]}), **options)


def test_the_plan_on_disk(tmp_path):
    import pyarrow.parquet as pq

    table = pa.table({"a": ["x" * 99, "y", "x" * 99], "b": [1, 2, 3]})
    pq.write_table(order_table(table).plan(), tmp_path / "plan.parquet")
    records = pq.read_table(tmp_path / "plan.parquet").to_pylist()
    assert json.dumps(records) == json.dumps([{"row": r["row"], "fields": ["a", "b"]} for r in records])
    assert [record["row"] for record in records] in ([0, 2, 1], [1, 0, 2])
