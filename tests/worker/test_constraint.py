import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import types as t

from spark_llm.errors import SparkLLMError
from spark_llm.worker.constraint import constraint_of, integer_regex


@given(st.integers(7, 70).map(lambda bits: 2**bits - 1), st.integers(-(2**72), 2**72))
def test_integer_regex_is_exactly_the_range(largest, number):
    pattern = re.compile(integer_regex(largest))
    assert bool(pattern.fullmatch(str(number))) == (abs(number) <= largest)
    for edge in (largest, -largest, 0, largest + 1, -largest - 1):
        assert bool(pattern.fullmatch(str(edge))) == (abs(edge) <= largest)


@pytest.mark.parametrize("text", ["", "007", "+1", "1.0", " 1", "-"])
def test_integer_regex_takes_plain_numbers_only(text):
    assert not re.fullmatch(integer_regex(127), text)


@pytest.mark.parametrize(
    ("data_type", "yes", "no"),
    [
        (t.DecimalType(5, 2), ["0", "-999.99", "1.5"], ["1000", "1.234", "01", "1."]),
        (t.DecimalType(3, 3), ["0.123", "-0.1", "0"], ["1", "1.0"]),
        (t.DecimalType(4, 0), ["9999"], ["1.0", "10000"]),
        (t.DoubleType(), ["1", "-0.25"], ["NaN", "1e5", ".5"]),
        (t.DateType(), ["2024-02-29"], ["2024-13-01", "24-01-01"]),
        (t.TimestampType(), ["2024-02-29T23:59:59"], ["2024-02-29", "2024-02-29T24:00:00"]),
    ],
)
def test_regex_per_type(data_type, yes, no):
    pattern = re.compile(constraint_of(data_type).regex)
    assert all(pattern.fullmatch(text) for text in yes)
    assert not any(pattern.fullmatch(text) for text in no)


def test_text_is_free_and_boolean_is_a_choice():
    assert constraint_of(t.StringType()) is None
    assert constraint_of(t.BooleanType()).choice == ("Yes", "No")


def test_struct_becomes_a_closed_schema():
    data_type = t._parse_datatype_json_string(
        t.StructType(
            [
                t.StructField("a", t.IntegerType(), nullable=False),
                t.StructField("b", t.ArrayType(t.StringType())),
                t.StructField("c", t.MapType(t.StringType(), t.DateType()), nullable=False),
            ]
        ).json()
    )
    assert constraint_of(data_type).json_schema == {
        "type": "object",
        "properties": {
            "a": {"type": "integer"},
            "b": {"type": ["array", "null"], "items": {"type": "string"}},
            "c": {"type": "object", "additionalProperties": {"type": "string", "format": "date"}},
        },
        "required": ["a", "b", "c"],
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    "data_type", [t.BinaryType(), t.MapType(t.IntegerType(), t.StringType()), t.VariantType()]
)
def test_types_without_a_form_are_refused(data_type):
    with pytest.raises(SparkLLMError, match="LLM_INVALID_OPTION"):
        constraint_of(data_type)
