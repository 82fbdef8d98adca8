import pytest
from hypothesis import given
from hypothesis import strategies as st
from worker_helpers import batch, run, spec

from spark_llm.engine.types import EngineAnswer
from spark_llm.worker.dedup import PromptTable


@given(st.lists(st.text(alphabet="ab", max_size=3)), st.integers(0, 4))
def test_table_never_forgets_recent_questions_and_never_mixes_them_up(users, capacity):
    table, slots = PromptTable(capacity), {}
    for place, user in enumerate(users):
        slot, new = table.find(user)
        recent = list(dict.fromkeys(reversed(users[:place])))[:capacity]
        assert new == (user not in recent)
        assert new or slot is slots[user]
        slots[user] = slot


def test_long_prompts_are_told_apart_by_their_whole_text():
    table = PromptTable(10)
    long = "x" * 10_000
    first, _ = table.find(long + "a")
    assert table.find(long + "b")[1]
    assert table.find(long + "a") == (first, False)


ROWS = [["a", "b"], ["a", "b"], ["c", "d"]], [["a", "b"], ["c", "e"]]


@pytest.mark.parametrize(
    ("call", "conf", "requests"),
    [
        ({}, {}, 3),
        ({"temperature": 0.7}, {}, 5),
        ({"temperature": 0.7, "seed": 1}, {}, 3),
        ({}, {"spark.llm.dedup.enabled": "false"}, 5),
        ({}, {"spark.llm.dedup.maxAnswers": "0"}, 5),
    ],
)
def test_equal_prompts_are_asked_once_where_that_cannot_change_an_answer(engine, call, conf, requests):
    stub = engine(lambda user: user)
    rows = run(spec(conf=conf, **call), *[batch(*rows) for rows in ROWS])
    assert len(stub.users) == requests
    assert len({row["value"] for row in rows}) == 3


def test_a_refused_question_is_asked_again_by_a_later_batch(engine):
    answers = iter([EngineAnswer(None, "LLM_RATE_LIMITED", "busy", 0, 0, 0, None), "fine"])
    engine(lambda user: next(answers))
    conf = {"spark.llm.maxInFlightRows": "2"}
    rows = run(spec(conf=conf), batch(["a", "b"], ["a", "b"]), batch(["a", "b"], ["a", "b"]))
    assert [row["condition"] for row in rows] == ["LLM_RATE_LIMITED", "LLM_RATE_LIMITED", None, None]
    assert [row["value"] for row in rows] == [None, None, "fine", "fine"]


def test_an_answer_that_does_not_fit_is_not_asked_again(engine):
    stub = engine(lambda user: "maybe")
    conf = {"spark.llm.maxInFlightRows": "1"}
    rows = run(spec('"boolean"', conf=conf), batch(["a", "b"]), batch(["a", "b"]))
    assert [row["condition"] for row in rows] == ["LLM_OUTPUT_INVALID"] * 2
    assert len(stub.users) == 1
