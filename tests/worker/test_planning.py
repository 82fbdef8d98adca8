"""Windows of questions to requests: the solver, what stands in for it, and the way from window to window."""

import json
import logging
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worker_helpers import batch, field_text, run, spec

from spark_llm.engine.machine import device
from spark_llm.planner import RowOrder
from spark_llm.worker import clients, planning
from spark_llm.worker.command import parse_spec
from spark_llm.worker.engine_traits import EngineTraits, traits_of
from spark_llm.worker.planning import WindowPlanner
from spark_llm.worker.prefix_uses import prefix_uses
from spark_llm.worker.questions import Batch, Question

ENGINE = EngineTraits("shared", 256, 32)
NAMES = ("city", "kind", "text")


@pytest.fixture(autouse=True, scope="module")
def solver_for_any_window():
    """Windows here are small; the solver orders them all the same."""
    usual, planning._FEW_QUESTIONS = planning._FEW_QUESTIONS, 0
    yield
    planning._FEW_QUESTIONS = usual


def questions_of(rows, instruction="q"):
    nowhere = Batch(0, 0)
    return [
        Question(None, nowhere, at, instruction, tuple(map(field_text, row))) for at, row in enumerate(rows)
    ]


def planner(conf=None, order_table=None, **call):
    settings_ = {f"spark.llm.{key}": value for key, value in (conf or {}).items()}
    parsed, checked = parse_spec(spec(conf=settings_, **{"names": NAMES, **call}))
    return WindowPlanner(parsed, checked, order_table)


def sent(plan):
    """The messages' fields in prompt order, as lists of (name, value)."""
    decode = json.JSONDecoder(object_pairs_hook=lambda pairs: pairs).decode
    users = [each.form.user(each.question.instruction, each.question.texts, each.sources) for each in plan]
    return [decode(user.split("\n", 1)[1]) for user in users]


class Solver:
    """Stands for `order_table`: the last row first, and fields from the last to the first."""

    def __init__(self, reason="", slots=None):
        self.calls, self.reason, self.slots = [], reason, slots

    def __call__(self, table, **options):
        self.calls.append((table, options))
        rows, fields = table.num_rows, table.num_columns
        return RowOrder(
            fields=tuple(table.column_names),
            row_indices=np.arange(rows)[::-1],
            orders=np.arange(fields)[::-1].reshape(1, fields).astype(np.int16),
            order_index=np.zeros(rows, np.int32),
            slots=self.slots,
            group_index=np.arange(rows, dtype=np.int32) // 2,
            policy="double",
            reason=self.reason,
            prompt_tokens=0,
            shared_tokens=0,
            squared_share=0.0,
        )


ROWS = [("p", "x", "1"), ("p", "y", "2"), ("r", None, "3")]


def test_the_solvers_order_is_sent():
    solver = Solver()
    plan = planner(order_table=solver).plan(questions_of(ROWS), ENGINE)
    assert sent(plan) == [
        [("text", "3"), ("city", "r")],
        [("text", "2"), ("kind", "y"), ("city", "p")],
        [("text", "1"), ("kind", "x"), ("city", "p")],
    ]
    assert [each.group for each in plan] == [0, 0, 1]
    ((table, options),) = solver.calls
    # The solver sees what the prompt shows: values, without the JVM's wrapping, and NULL as NULL.
    assert table.column("kind").to_pylist() == ['"x"', '"y"', None]
    assert (options["policy"], options["block_tokens"], options["null_is_left_out"]) == ("default", 32, True)


def test_pinned_fields_and_groups_go_to_the_solver_by_name():
    solver = Solver()
    one = planner({"planner.policy": "ggr"}, solver, names="abcd", first=[3], last=[0], any_order=[[1, 2]])
    one.plan(questions_of([("1", "2", "3", "4")] * 2), ENGINE)
    options = solver.calls[0][1]
    assert (options["policy"], options["first"], options["last"], options["sets"]) == (
        "ggr", ["d"], ["a"], [["b", "c"]],
    )  # fmt: skip


def test_fields_of_equal_name_are_columns_of_their_own():
    solver = Solver()
    plan = planner(order_table=solver, names=["a", "a", "a'"]).plan(questions_of(ROWS[:2]), ENGINE)
    assert len(set(solver.calls[0][0].column_names)) == 3
    assert sent(plan)[1] == [("a'", "1"), ("a", "x"), ("a", "p")]


def test_an_instruction_column_is_pinned_to_the_front():
    solver = Solver()
    one = planner(order_table=solver, names=["instruction"], instruction=None, first=[0])
    asked = [*questions_of([("1",)], "first"), *questions_of([("2",)], "second")]
    plan = one.plan(asked, ENGINE)
    table, options = solver.calls[0]
    assert table.column_names == ["instruction'", "instruction"]
    assert options["first"] == ["instruction'", "instruction"]
    assert [each.question.instruction for each in plan] == ["second", "first"]
    assert sent(plan) == [[("instruction", "2")], [("instruction", "1")]]


def test_cells_of_a_group_stand_where_the_solver_put_them():
    solver = Solver(slots=np.array([[0, 2, 1], [0, 1, 2]], np.int16))
    plan = planner(order_table=solver, any_order=[[1, 2]]).plan(questions_of(ROWS[:2]), ENGINE)
    # In the prompt, fields go from the last to the first; names of the group stay in written order.
    assert sent(plan) == [
        [("kind", "y"), ("text", "2"), ("city", "p")],
        [("kind", "1"), ("text", "x"), ("city", "p")],
    ]


@pytest.mark.parametrize(
    ("conf", "call", "calls", "expected"),
    [
        ({}, {}, 1, "321"),
        ({"reorderRows.enabled": "false"}, {}, 0, "123"),
        ({"reorderFields.enabled": "false"}, {}, 0, "132"),
        ({"planner.policy": "original"}, {}, 0, "132"),
        ({"planner.policy": "fixed"}, {}, 1, "321"),
        ({"planner.policy": "fixed"}, {"sorted": True}, 0, "132"),
        ({"planner.policy": "fixed"}, {"field_order": [1, 0, 2]}, 0, "123"),
        ({"planner.policy": "tree"}, {"sorted": True}, 1, "321"),
    ],
)
def test_switches(conf, call, calls, expected):
    solver = Solver()
    rows = [("p", "x", "1"), ("r", "x", "2"), ("p", "y", "3")]
    plan = planner(conf, solver, **call).plan(questions_of(rows), ENGINE)
    assert len(solver.calls) == calls
    assert "".join(json.loads(each.question.texts[2])["v"] for each in plan) == expected
    if not calls:
        order = [NAMES[place] for place in call.get("field_order", range(3))]
        assert all([name for name, _ in pairs] == order for pairs in sent(plan))


def test_nothing_moves_when_the_solver_has_a_reason():
    plan = planner(order_table=Solver("nothing repeats"), field_order=[2, 1, 0]).plan(
        questions_of(ROWS), ENGINE
    )
    assert [each.question.row for each in plan] == [0, 1, 2]
    assert sent(plan)[0] == [("text", "1"), ("kind", "x"), ("city", "p")]
    assert [each.group for each in plan] == [0, 1, 2]


def test_without_numba_rows_are_sorted_and_it_is_told_once(monkeypatch, caplog, engine):
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.setattr(planning, "_missing", [])
    caplog.set_level(logging.WARNING, "spark_llm.worker")
    stub = engine(lambda user: user)
    rows = [["p", "1"], ["r", "1"], ["p", "2"], ["r", "2"]]
    for _ in range(2):
        answers = run(spec(instruction="q"), batch(*rows))
        assert [json.loads(row["value"][2:])["city"] for row in answers] == ["p", "r", "p", "r"]
    cities = [json.loads(user[2:])["city"] for user in stub.users]
    assert cities == ["p", "p", "r", "r"] * 2
    assert "numba" in caplog.records[0].getMessage()
    assert len(caplog.records) == 1


def test_few_questions_do_not_wait_for_the_solver(monkeypatch):
    monkeypatch.setattr(planning, "_FEW_QUESTIONS", 32)
    rows = [(f"city {row % 3}", "kind", f"text {row}") for row in range(31)]
    sorted_only, loaded = planner(), []
    monkeypatch.setattr(WindowPlanner, "_solver", lambda _self: loaded.append(1))
    cities = [dict(fields)["city"] for fields in sent(sorted_only.plan(questions_of(rows), ENGINE))]
    assert cities == sorted(cities)
    assert loaded == []
    sorted_only.plan(questions_of([*rows, ("city 1", "kind", "one more")]), ENGINE)
    assert loaded == [1]


CELL = st.none() | st.sampled_from(["a", "b", "c", "dddddddddddddddddddddddd"])
TABLE = st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=25, unique=True).map(
    lambda rows: [row for row in rows if any(value is not None for value in row)] or [("a", "b", "c")]
)
POLICY = st.sampled_from(["default", "fixed", "tree", "ggr", "original"])


@settings(max_examples=60, deadline=None)
@given(st.lists(TABLE, min_size=1, max_size=3), POLICY, st.booleans(), st.sampled_from(["shared", "leader"]))
def test_every_question_is_asked_once_with_all_its_fields_and_again_alike(windows, policy, groups, mode):
    call = {"any_order": [[1, 2]]} if groups else {}
    one, again = (planner({"planner.policy": policy}, **call) for _ in range(2))
    last = -1
    for rows in windows:
        asked = questions_of(rows)
        plan = one.plan(asked, EngineTraits(mode, 4, 32))
        assert sorted(each.question.row for each in plan) == list(range(len(rows)))
        for each, pairs in zip(plan, sent(plan), strict=True):
            row = rows[each.question.row]
            present = [value for value in row if value is not None]
            assert sorted(value for _, value in pairs) == sorted(present)
            if not groups:
                assert dict(pairs) == {n: v for n, v in zip(NAMES, row, strict=True) if v is not None}
        assert sent(again.plan(asked, EngineTraits(mode, 4, 32))) == sent(plan)
        ids = [each.group for each in plan]
        assert min(ids) >= last
        last = max(ids)


@pytest.mark.parametrize("mode", ["shared", "interleave"])
def test_an_engine_that_counts_is_told_what_the_prompts_of_a_window_share_in_sending_order(mode):
    rows = [(f"{n % 3}" * 40, "same" * 20, f"{n}") for n in range(24)]
    one, engine = planner(), EngineTraits(mode, 4, 32, counts_uses=True)
    assert not any(each.uses or each.window for each in planner().plan(questions_of(rows), ENGINE))
    plans = [one.plan(questions_of(rows), engine) for _ in range(2)]
    assert len({each.window for plan in plans for each in plan}) == 2
    for plan in plans:
        assert len({each.window for each in plan}) == 1
        users = [each.user for each in plan]
        assert [each.uses for each in plan] == prefix_uses(users, 32)
        assert plan[0].uses[0].uses == 23
        assert len(plan[0].uses) > 1


def test_a_window_begins_with_what_the_one_before_used_last():
    one = planner({"reorderFields.enabled": "false"})
    first = one.plan(questions_of([(city, "x", f"{n}") for n, city in enumerate("aabbcc")]), ENGINE)
    rows = [
        ("d", "x", "9"),
        ("a", "x", "8"),
        ("c", "y", "7"),
        ("b", "x", "6"),
        ("c", "x", "5"),
        ("c", "x", "a"),
    ]
    second = one.plan(questions_of(rows), ENGINE)
    cities = [json.loads(each.question.texts[0])["v"] for each in second]
    assert cities == ["c", "c", "c", "b", "a", "d"]
    # Of the first group, those that share most with the last prompt: ("c", "x", "5") and its like.
    assert [json.loads(each.question.texts[1])["v"] for each in second[:3]] == ["x", "x", "y"]
    # It is the same group, and keeps its place in the engine's queue; the others are new.
    assert [each.group for each in first] == [0, 0, 1, 1, 2, 2]
    assert [each.group for each in second] == [2, 2, 2, 3, 4, 5]


def test_a_sorted_partition_that_is_cut_keeps_its_order():
    rows = [(f"{n // 10}", f"{n // 5}", f"{n}") for n in range(40)]
    one = planner({"planner.policy": "fixed"}, sorted=True)
    asked = [each for at in range(0, 40, 8) for each in one.plan(questions_of(rows[at : at + 8]), ENGINE)]
    assert [json.loads(each.question.texts[2])["v"] for each in asked] == [row[2] for row in rows]
    assert [each.group for each in asked] == [n // 10 for n in range(40)]


@pytest.mark.parametrize(
    ("conf", "traits"),
    [
        ({"engine.kind": "fake"}, ("shared", 256, 32, 8, False)),
        (
            {"engine.kind": "openai", "engine.endpoint": "http://h/v1", "model": "m"},
            ("interleave", 64, 16, 1, False),
        ),
        ({"engine.kind": "vllm", "model": "m", "engine.blockSize": "64"}, ("shared", 256, 64, 8, False)),
    ],
)
def test_what_is_known_about_the_engine(conf, traits):
    conf = {f"spark.llm.{key}": value for key, value in conf.items()}
    uses = "spark.llm.memory.plannedUses.enabled"
    assert tuple(traits_of(parse_spec(spec(conf=conf | {uses: "false"}))[1], None)) == traits
    counts = traits_of(parse_spec(spec(conf=conf))[1], None).counts_uses
    assert counts == (conf["spark.llm.engine.kind"] == "vllm" and device() == "cpu")


def test_equal_rows_share_a_question_whatever_their_order_in_a_group(engine):
    stub = engine(lambda user: user)
    rows = run(
        spec(names=["q", "c1", "c2"], any_order=[[1, 2]]),
        batch(["a", "x", "y"], ["a", "y", "x"], ["a", None, "x"], ["a", "x", None], ["a", "x", "x"]),
    )
    assert [row["requests"] for row in rows] == [1, 0, 1, 0, 1]
    assert rows[0]["value"] == rows[1]["value"]
    assert rows[2]["value"] == rows[3]["value"]
    assert len(stub.users) == 3


def test_more_is_shared_than_in_input_order():
    rows = [[f"city {n % 7} {'long ' * 40}", f"{n}"] for n in range(300)]
    share = {}
    for enabled in ("true", "false"):
        clients.close_all()
        conf = {"spark.llm.reorderRows.enabled": enabled, "spark.llm.fake.cacheSize": "200"}
        found = run(spec(conf=conf), *[batch(*rows[at : at + 50]) for at in range(0, 300, 50)])
        share[enabled] = sum(row["cached_prompt_tokens"] for row in found)
    assert share["true"] > 5 * share["false"]
