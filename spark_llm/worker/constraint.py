"""The form an answer must have, from the Spark type it is read as."""

from __future__ import annotations

from typing import Any, Final

from pyspark.sql import types as t

from spark_llm.engine.types import Constraint
from spark_llm.errors import invalid_option

YES_NO: Final = ("Yes", "No")
DATE: Final = "[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
TIMESTAMP: Final = f"{DATE}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
REAL: Final = r"-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,15})?"
INTEGER_BITS: Final[dict[type[t.DataType], int]] = {
    t.ByteType: 8,
    t.ShortType: 16,
    t.IntegerType: 32,
    t.LongType: 64,
}


def constraint_of(data_type: t.DataType) -> Constraint | None:
    """Returns the constraint that makes the engine answer in a form `answer` can read; None for STRING.

    Raises:
        SparkLLMError: LLM_INVALID_OPTION for a type that an answer cannot have.
    """
    if isinstance(data_type, t.StringType):
        return None
    if isinstance(data_type, t.BooleanType):
        return Constraint(choice=YES_NO)
    if (regex := _regex(data_type)) is not None:
        return Constraint(regex=regex)
    return Constraint(json_schema=json_schema(data_type))


def _regex(data_type: t.DataType) -> str | None:
    if type(data_type) in INTEGER_BITS:
        return integer_regex(2 ** (INTEGER_BITS[type(data_type)] - 1) - 1)
    if isinstance(data_type, t.FloatType | t.DoubleType):
        return REAL
    if isinstance(data_type, t.DecimalType):
        whole = data_type.precision - data_type.scale
        fraction = rf"(\.[0-9]{{1,{data_type.scale}}})?" if data_type.scale else ""
        return "-?" + (f"(0|[1-9][0-9]{{0,{whole - 1}}})" if whole else "0") + fraction
    if isinstance(data_type, t.DateType):
        return DATE
    if isinstance(data_type, t.TimestampType | t.TimestampNTZType):
        return TIMESTAMP
    return None


def integer_regex(largest: int) -> str:
    """Returns the regex of the integers from ``-largest`` to ``largest``, without leading zeros.

    It walks along the digits of ``largest``: the same beginning, then a smaller digit, then any digits.
    """
    digits = str(largest)
    forms = ["0", f"[1-9][0-9]{{0,{len(digits) - 2}}}"]
    for place, digit in enumerate(digits):
        low, high, rest = int(place == 0), int(digit) - 1, len(digits) - place - 1
        if low <= high:
            forms.append(f"{digits[:place]}[{low}-{high}]" + (f"[0-9]{{{rest}}}" if rest else ""))
    return f"-?({'|'.join([*forms, digits])})"


def json_schema(data_type: t.DataType) -> dict[str, Any]:
    """Returns the JSON schema of a type inside an ARRAY, MAP or STRUCT, or of one of these.

    A nullable field of a STRUCT may be answered with null, which is how a model says that something is not
    there; elements of arrays and values of maps are never offered as null.
    """
    if isinstance(data_type, t.StructType):
        return {
            "type": "object",
            "properties": {field.name: _field_schema(field) for field in data_type.fields},
            "required": data_type.names,
            "additionalProperties": False,
        }
    if isinstance(data_type, t.ArrayType):
        return {"type": "array", "items": json_schema(data_type.elementType)}
    if isinstance(data_type, t.MapType) and isinstance(data_type.keyType, t.StringType):
        return {"type": "object", "additionalProperties": json_schema(data_type.valueType)}
    if isinstance(data_type, t.TimestampNTZType):
        return {"type": "string", "pattern": TIMESTAMP}
    for kinds, schema in _SCALARS:
        if isinstance(data_type, kinds):
            return dict(schema)
    raise invalid_option(
        "return_type",
        data_type.simpleString(),
        "STRING, BOOLEAN, a number, DATE, TIMESTAMP, or ARRAY, STRUCT, MAP<STRING, …> of these",
    )


def _field_schema(field: t.StructField) -> dict[str, Any]:
    schema = json_schema(field.dataType)
    return schema | {"type": [schema["type"], "null"]} if field.nullable else schema


_SCALARS: Final[tuple[tuple[tuple[type[t.DataType], ...], dict[str, Any]], ...]] = (
    ((t.StringType,), {"type": "string"}),
    ((t.BooleanType,), {"type": "boolean"}),
    (tuple(INTEGER_BITS), {"type": "integer"}),
    ((t.FloatType, t.DoubleType, t.DecimalType), {"type": "number"}),
    ((t.DateType,), {"type": "string", "format": "date"}),
    ((t.TimestampType,), {"type": "string", "format": "date-time"}),
)
