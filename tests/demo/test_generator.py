from __future__ import annotations

import json
from itertools import islice

import pytest

from spark_llm.demo.generate import KINDS, draw_example, examples, held_out
from spark_llm.demo.orders import Sum
from spark_llm.demo.splits import side_of

TASKS = {
    "extract",
    "json",
    "copy",
    "shorten",
    "filter",
    "labels",
    "rate",
    "list",
    "match",
    "arithmetic",
}


@pytest.fixture(scope="module")
def training():
    return list(islice(examples(20), 6000))


@pytest.fixture(scope="module")
def test_set():
    return held_out(1, 60)


def test_equal_seeds_give_equal_examples(training):
    assert list(islice(examples(20), 500)) == training[:500]


def test_other_seeds_give_other_examples(training):
    assert list(islice(examples(21), 500)) != training[:500]


def test_held_out_tasks_have_the_rows_asked_for(test_set):
    assert set(test_set) == TASKS
    assert all(len(found) == 60 for found in test_set.values())


def test_no_held_out_prompt_occurs_in_training(training, test_set):
    seen = {example.user for example in training}
    asked = [example.user for found in test_set.values() for example in found]
    assert len(set(asked)) == len(asked)
    assert seen.isdisjoint(asked)


def test_every_prompt_lies_on_its_side_whatever_the_seed(training, test_set):
    # The rule, and not only the sample above, keeps the two sides apart.
    assert all(side_of(example.user) == "train" for example in training if example.row)
    assert all(side_of(e.user) == "held_out" for found in test_set.values() for e in found)


def test_held_out_names_never_occur_in_training(training, test_set):
    names = {str(e.row["city"]) for found in test_set.values() for e in found if "city" in e.row}
    names |= {p for e in test_set["list"] for p in json.loads(e.answer)}
    assert len(names) > 50
    text = "\n".join(example.user for example in training)
    assert not [name for name in names if f'"{name}"' in text or f"the {name}" in text]


def test_filters_answer_yes_and_no_about_equally_often(training):
    answers = [e.answer for e in training if e.task in {"filter", "match"}]
    assert set(answers) == {"Yes", "No"}
    assert 0.4 < answers.count("Yes") / len(answers) < 0.6


def test_a_label_is_one_of_those_in_the_instruction(training):
    found = [e for e in training if e.task == "labels"]
    assert found
    assert all(e.answer in e.instruction for e in found)
    assert len({e.instruction for e in found}) > 100


def test_an_extracted_value_stands_in_the_row(training):
    found = [e for e in training if e.task in {"extract", "copy", "shorten"}]
    assert found
    for example in found:
        text = json.dumps(dict(example.row), ensure_ascii=False)
        assert example.answer == "none" or example.answer in text


def test_json_answers_are_json(training):
    for example in training:
        if example.task == "json":
            assert len(json.loads(example.answer)) == 2
        elif example.task == "list":
            assert json.loads(example.answer)


def test_the_asked_field_stands_anywhere_in_the_row(training):
    places = {
        list(e.row).index("price") / (len(e.row) - 1)
        for e in training
        if e.task == "filter" and "price" in e.row and "price" in e.instruction and len(e.row) > 1
    }
    assert {0.0, 0.5, 1.0} <= places


def test_direct_sums_are_rare_in_training(training):
    sums = [e for e in training if e.task == "arithmetic"]
    assert 0.01 < sum(not e.think for e in sums) / len(sums) < 0.15


def test_a_sum_shows_its_steps():
    shown = Sum(7, 8, 9, 4)
    assert shown.total == 61
    assert shown.steps == "7*8=56; 56+9=65; 65-4=61"


def test_the_steps_of_every_sum_lead_to_its_answer(test_set):
    for example in test_set["arithmetic"]:
        assert example.thinking.rpartition("=")[2] == example.answer


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.make.__name__)
def test_every_kind_draws_on_both_sides(kind):
    from random import Random

    for split in ("train", "held_out"):
        example = draw_example(Random(3), split, kind)
        assert example.user.startswith(example.instruction)
        assert example.answer
        assert example.thinking
