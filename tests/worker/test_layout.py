import json

import pytest
from worker_helpers import spec

from spark_llm.errors import SparkLLMError
from spark_llm.worker.command import parse_spec
from spark_llm.worker.layout import Layout


def layout(**call):
    return parse_spec(spec(names=["a", "b", "c", "d"], **call))[0].layout


def test_what_is_not_said_is_as_written():
    assert layout() == Layout((0, 1, 2, 3))


def test_all_keys():
    found = layout(field_order=[2, 0, 1, 3], any_order=[[1, 0]], first=[2], last=[3], sorted=True)
    assert found == Layout((2, 0, 1, 3), ((0, 1),), (2,), (3,), True)


def test_a_group_of_one_is_no_group():
    assert layout(any_order=[[1]]).any_order == ()


@pytest.mark.parametrize(
    "call",
    [
        {"field_order": [0, 1, 2]},
        {"field_order": [0, 1, 2, 2]},
        {"field_order": [0, 1, 2, 4]},
        {"field_order": [0, 1, 2, True]},
        {"field_order": "0123"},
        {"any_order": [[0, 1], [1, 2]]},
        {"any_order": [[0, 9]]},
        {"any_order": 1},
        {"any_order": [0]},
        {"first": [-1]},
        {"first": [1, 1]},
        {"first": [1], "last": [1]},
        {"first": [1], "any_order": [[1, 2]]},
        {"sorted": "yes"},
    ],
)
def test_a_wrong_value_is_told_with_its_key(call):
    with pytest.raises(SparkLLMError) as error:
        layout(**call)
    assert error.value.condition == "LLM_ENGINE_FAILED"
    assert any(key in str(error.value) for key in call)
    assert "allowed is" in str(error.value)


def test_another_version_is_refused():
    old = json.loads(spec()) | {"version": 1}
    with pytest.raises(SparkLLMError, match="speaks version 1 to the workers"):
        parse_spec(json.dumps(old))
