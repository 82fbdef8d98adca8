from __future__ import annotations

import json
import re
import string
from datetime import date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_llm.conf import parse_conf
from spark_llm.engine.fake import FakeEngine
from spark_llm.engine.types import Constraint, EngineRequest, Sampling
from spark_llm.errors import SparkLLMError

INTEGER = r"-?(0|[1-9][0-9]{0,18})"
DOUBLE = r"-?[0-9]{1,15}(\.[0-9]{1,15})?([eE][-+]?[0-9]{1,3})?"
DATE = r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
TIMESTAMP = DATE + r"[T ]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"


def answer(user, constraint=None, seed=None, engine=None):
    sampling = Sampling(None, 0.0, 64, seed, constraint)
    return (engine or FakeEngine()).submit([EngineRequest("Answer.", user)], sampling).result()[0]


def message(fields, instruction="Is it about food?"):
    return f"{instruction}\n{json.dumps(fields)}"


names = st.text(string.ascii_letters, min_size=1, max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(names, values, min_size=2, max_size=5), st.randoms(use_true_random=False))
def test_answer_does_not_depend_on_field_order(fields, random):
    shuffled = list(fields.items())
    random.shuffle(shuffled)
    assert answer(message(fields)).text == answer(message(dict(shuffled))).text


def test_fields_of_equal_name_stay_apart_and_in_any_order():
    one = answer('Q\n{"a": 1, "a": 2}').text
    assert one == answer('Q\n{"a": 2, "a": 1}').text
    assert one != answer('Q\n{"a": 2}').text


def test_answer_does_not_depend_on_row_order_or_engine(sampling, rows):
    asked = rows(50)
    forth = FakeEngine().submit(asked, sampling()).result()
    back = FakeEngine().submit(asked[::-1], sampling()).result()
    assert [one.text for one in forth] == [one.text for one in back][::-1]


def test_answers_are_the_same_in_every_release():
    assert answer("Is it about food?").text == "fake:c01d9f96"
    assert answer(message({"a": 1, "b": "x"})).text == "fake:092f762a"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((message({"a": 1}),), (message({"a": 2}),)),
        ((message({"a": 1}),), (message({"b": 1}),)),
        ((message({"a": 1}, "Q"),), (message({"a": 1}, "R"),)),
        ((message({"a": 1}), None, 1), (message({"a": 1}), None, 2)),
    ],
)
def test_answer_depends_on_fields_instruction_and_seed(one, other):
    assert answer(*one).text != answer(*other).text


@given(st.integers())
def test_choice_is_one_of_the_choices(number):
    assert answer(message({"n": number}), Constraint(choice=("Yes", "No"))).text in {"Yes", "No"}


@pytest.mark.parametrize(
    ("regex", "parse"),
    [
        (INTEGER, int),
        (DOUBLE, float),
        (DATE, date.fromisoformat),
        (TIMESTAMP, datetime.fromisoformat),
        (r"-?[0-9]{1,1}(\.[0-9]{1,2})?", float),
        (r"[A-Z]{3}-\d{2,4}(a|b+)?", str),
        (r"(?:yes|no)[^a-z]\w\s?.", str),
        (r"^x{2}y*?$", str),
    ],
)
def test_regex_answers_match_and_are_real_values(regex, parse):
    for number in range(60):
        text = answer(message({"n": number}), Constraint(regex=regex)).text
        assert re.fullmatch(regex, text), text
        parse(text)


SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "kind": {"type": "string", "enum": ["a", "b"]},
        "score": {"type": "number", "minimum": 0, "maximum": 1},
        "year": {"type": "integer", "minimum": 2000, "maximum": 2010},
        "day": {"type": "string", "pattern": DATE},
        "tags": {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2},
        "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "pairs": {"type": "object", "additionalProperties": {"type": "boolean"}},
    },
    "required": ["name"],
    "additionalProperties": False,
}


def test_json_answers_fit_the_schema():
    jsonschema = pytest.importorskip("jsonschema")
    for number in range(60):
        text = answer(message({"n": number}), Constraint(json_schema=SCHEMA)).text
        jsonschema.validate(json.loads(text), SCHEMA)


def test_invalid_regex_fails_the_submit():
    with pytest.raises(SparkLLMError, match="LLM_REQUEST_REJECTED"):
        answer("Q", Constraint(regex="("))


def test_echo_gives_the_row_whatever_is_asked():
    fields = {"b": "é", "a": {"y": 1, "x": [1, 2]}}
    assert json.loads(answer(message(fields, "ECHO this"), Constraint(choice=("Yes",))).text) == fields
    assert answer("ECHO hello").text == "hello"


def test_rules_first_match_wins(tmp_path):
    path = tmp_path / "rules.json"
    rules = [
        {"when": "piz+a", "answer": "food"},
        {"when": "number (", "answer": {"n": 1}},
        {"when": "", "answer": "x"},
    ]
    path.write_text(json.dumps(rules))
    engine = FakeEngine.from_conf(parse_conf({"spark.llm.fake.answers": str(path)}))
    assert answer(message({"a": "pizzza"}), engine=engine).text == "food"
    assert answer(message({"a": "number (1)"}), engine=engine).text == '{"n": 1}'
    assert answer(message({"a": "other"}), engine=engine).text == "x"


@pytest.mark.parametrize("content", [None, "{", "{}", '[{"when": "x"}]', '[{"when": 1, "answer": 2}]'])
def test_bad_rules_are_refused(tmp_path, content):
    path = tmp_path / "rules.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SparkLLMError) as caught:
        FakeEngine.from_conf(parse_conf({"spark.llm.fake.answers": str(path)}))
    assert caught.value.condition == "LLM_INVALID_CONF"
    assert caught.value.params["key"] == "spark.llm.fake.answers"


def test_fail_and_max_model_len_touch_their_rows_only(sampling, rows):
    conf = {"spark.llm.fake.fail": "number 1", "spark.llm.fake.maxModelLen": "30"}
    engine = FakeEngine.from_conf(parse_conf(conf))
    asked = [*rows(3), *rows(1, long="x" * 200)]
    found = engine.submit(asked, sampling()).result()
    assert [one.condition for one in found] == [None, "LLM_REQUEST_REJECTED", None, "LLM_PROMPT_TOO_LONG"]
    assert [one.text is None for one in found] == [False, True, False, True]
    assert "65 tokens" in found[3].message
    assert "30" in found[3].message


def test_usage_counts_shared_blocks_of_the_previous_prompt():
    engine = FakeEngine()
    first = answer("x" * 400, engine=engine)
    again = answer("x" * 400, engine=engine)
    other = answer("y" * 400, engine=engine)
    assert (first.prompt_tokens, first.cached_prompt_tokens) == (102, 0)
    assert again.cached_prompt_tokens == 96
    assert other.cached_prompt_tokens == 0
