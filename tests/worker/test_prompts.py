import json

from hypothesis import given
from hypothesis import strategies as st
from worker_helpers import batch, field_text, run, spec

from spark_llm.conf import parse_conf
from spark_llm.prompts import SYSTEM_PROMPT, Renderer, system_for

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
ROWS = st.lists(st.tuples(st.text(), VALUES), min_size=1, max_size=5, unique_by=lambda pair: pair[0])


def test_user_message_is_the_instruction_and_one_json_object():
    user = Renderer(["review", "stars"]).user("Is it about food?", ['{"v":"Good \\"pasta\\""}', '{"v":5}'])
    assert user == 'Is it about food?\n{"review": "Good \\"pasta\\"", "stars": 5}'


def test_null_fields_are_left_out():
    renderer = Renderer(["a", "b", "c"])
    assert renderer.user("x", ["{}", '{"v":2}', "{}"]) == 'x\n{"b": 2}'
    assert renderer.user("x", ["{}", "{}", "{}"]) is None


def test_bare_instruction_without_fields():
    assert Renderer([]).user("How are you?", ()) == "How are you?"


@given(ROWS, st.text())
def test_message_is_what_python_would_write(row, instruction):
    names, values = zip(*row, strict=True)
    user = Renderer(names).user(instruction, [*map(field_text, values)])
    present = {name: value for name, value in row if value is not None}
    if not present:
        assert user is None
    else:
        assert user.startswith(instruction + "\n{")
        assert json.loads(user.removeprefix(instruction)) == present


def test_system_message_can_be_replaced():
    assert system_for(parse_conf({})) == SYSTEM_PROMPT
    assert system_for(parse_conf({"spark.llm.systemPrompt": "Be brief."})) == "Be brief."


def test_the_engine_gets_both_messages_and_the_sampling(engine):
    stub = engine(lambda user: "ok")
    run(spec(names=["a"], max_tokens=7, seed=3, temperature=0.5, model="m"), batch(["x"]))
    ((requests, sampling),) = stub.submits
    assert (requests[0].system, requests[0].user) == (SYSTEM_PROMPT, 'Is it about food?\n{"a": "x"}')
    assert (sampling.model, sampling.temperature, sampling.max_tokens, sampling.seed) == ("m", 0.5, 7, 3)
    assert sampling.constraint is None
