from __future__ import annotations

from random import Random

from spark_llm.demo.example import Example, user_message
from spark_llm.demo.score import measure, reordered, table

ROW = {"city": "Elmholm", "price": 7}


def example(task="extract", answer="7"):
    return Example(task, "What is the price?", ROW, answer, "")


def test_a_user_message_is_instruction_and_json():
    assert user_message("What is the price?", ROW) == 'What is the price?\n{"city": "Elmholm", "price": 7}'
    assert user_message("Say hello.", {}) == "Say hello."
    assert user_message("x", {"a": "Köln"}) == 'x\n{"a": "Köln"}'


def test_reordering_moves_the_fields():
    assert reordered(example(), Random(0)) == 'What is the price?\n{"price": 7, "city": "Elmholm"}'


def test_accuracy_and_changes_are_counted():
    # Right only while the city comes first.
    def ask(users, think):
        return ["7" if "{" in user and user.index("city") < user.index('"price"') else "no" for user in users]

    line = measure(ask, "extract", [example(), example(answer="8")], think=False, seed=0)
    assert line["accuracy"] == 0.5
    assert line["changed_by_field_order"] == 1.0
    assert line["passed"] is False


def test_an_upper_bound_is_passed_from_below():
    line = measure(lambda users, _: ["?"] * len(users), "arithmetic, direct", [example()], False, 0)
    assert line["passed"] is True
    assert "| arithmetic, direct | 1 | 0.0% | at most 60% |" in table([line])
