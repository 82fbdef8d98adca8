"""``return_type`` of the Python functions: anything that describes a Spark type, as DDL."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import types
import typing
from typing import TYPE_CHECKING, Any, Final

from spark_llm.errors import invalid_option

if TYPE_CHECKING:
    from pyspark.sql.types import DataType

_OF_PYTHON: Final[dict[Any, str]] = {
    str: "STRING",
    bool: "BOOLEAN",
    int: "BIGINT",
    float: "DOUBLE",
    decimal.Decimal: "DECIMAL(38,18)",
    dt.date: "DATE",
    dt.datetime: "TIMESTAMP",
}
_EXPECTED: Final = (
    "DDL text, a pyspark DataType, a dataclass or pydantic model, or str, bool, int, float, Decimal, date, "
    "datetime, list[…], dict[str, …] of these"
)


def ddl_of(return_type: object) -> str:
    """Returns the DDL of a return type.

    Args:
        return_type: DDL text; a pyspark DataType; a dataclass or pydantic model, which become a STRUCT whose
            fields are NOT NULL unless annotated ``X | None``; or a Python type. An Enum or Literal of strings
            becomes STRING.

    Raises:
        SparkLLMError: LLM_INVALID_OPTION when it is none of these.
    """
    if isinstance(return_type, str):
        return return_type
    if hasattr(return_type, "simpleString") and not isinstance(return_type, type):
        return _of_data_type(typing.cast("DataType", return_type))
    if isinstance(return_type, type) and hasattr(return_type, "simpleString"):
        return _of_data_type(return_type())
    return _of_annotation(return_type)


def _of_data_type(data_type: DataType) -> str:
    from pyspark.sql import types as t

    if isinstance(data_type, t.StructType):
        return _struct((f.name, _of_data_type(f.dataType), f.nullable) for f in data_type.fields)
    if isinstance(data_type, t.ArrayType):
        return f"ARRAY<{_of_data_type(data_type.elementType)}>"
    if isinstance(data_type, t.MapType):
        return f"MAP<{_of_data_type(data_type.keyType)}, {_of_data_type(data_type.valueType)}>"
    return data_type.simpleString().upper()


def _struct(fields: typing.Iterable[tuple[str, str, bool]]) -> str:
    parts = []
    for name, ddl, nullable in fields:
        quoted = name.replace("`", "``")
        parts.append(f"`{quoted}`: {ddl}" + ("" if nullable else " NOT NULL"))
    return f"STRUCT<{', '.join(parts)}>"


def _of_annotation(annotation: Any) -> str:
    if annotation in _OF_PYTHON:
        return _OF_PYTHON[annotation]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is list and len(arguments) == 1:
        return f"ARRAY<{_of_annotation(_without_none(arguments[0])[0])}>"
    if origin is dict and len(arguments) == 2 and arguments[0] is str:
        return f"MAP<STRING, {_of_annotation(_without_none(arguments[1])[0])}>"
    if origin is typing.Literal and all(isinstance(choice, str) for choice in arguments):
        return "STRING"
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return "STRING"
    names = _field_names(annotation)
    if names:
        hints = typing.get_type_hints(annotation)
        fields = ((name, *_without_none(hints[name])) for name in names)
        return _struct((name, _of_annotation(kind), nullable) for name, kind, nullable in fields)
    raise invalid_option("return_type", annotation, _EXPECTED)


def _field_names(annotation: Any) -> list[str]:
    fields = getattr(annotation, "__dataclass_fields__", None) or getattr(annotation, "model_fields", None)
    return list(fields or ())


def _without_none(annotation: Any) -> tuple[Any, bool]:
    """Returns X and whether None is allowed, for ``X``, ``X | None`` and ``Optional[X]``."""
    if typing.get_origin(annotation) not in {typing.Union, types.UnionType}:
        return annotation, False
    others = [argument for argument in typing.get_args(annotation) if argument is not type(None)]
    if len(others) != 1:
        raise invalid_option("return_type", annotation, _EXPECTED)
    return others[0], True
