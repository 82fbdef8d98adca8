"""Answer text to a value of the Spark type: strict, and a reason where it does not fit."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from pyspark.sql import types as t

from spark_llm.worker.constraint import INTEGER_BITS
from spark_llm.worker.scalar import Invalid, clean_text, converter_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import tzinfo

_FENCE: Final = re.compile(r"```(?:json)?\s*\n(.*?)\n\s*```", re.DOTALL)
_BOOLEANS: Final = {"yes": True, "no": False, "true": True, "false": False}
_NUMBERS: Final[tuple[type[t.DataType], ...]] = (*INTEGER_BITS, t.FloatType, t.DoubleType, t.DecimalType)


class AnswerParser:
    """Reads the answers of one call.

    Args:
        data_type: what they are read as.
        zone: time zone of timestamps that are answered without an offset.
        max_tokens: for the error text of answers that were cut off.
    """

    def __init__(self, data_type: t.DataType, zone: tzinfo, max_tokens: int) -> None:
        self._max_tokens = max_tokens
        self._free = isinstance(data_type, t.StringType)
        self._number = isinstance(data_type, _NUMBERS)
        self._read = reader_of(data_type, zone)

    def __call__(self, text: str, finish_reason: str | None) -> Any:
        """Returns the value of an answer.

        Raises:
            Invalid: it has no value of the type; the text of the exception is the reason.
        """
        if finish_reason != "length" or self._free:
            return self._read(text)
        # What is left of a number still looks like one; what is left of JSON, a date or a choice does not.
        if not self._number:
            try:
                return self._read(text)
            except Invalid:
                pass
        raise Invalid(
            f"it was cut off when max_tokens ({self._max_tokens}) was reached; "
            "raise max_tokens => or spark.llm.maxAnswerLen"
        )


def reader_of(data_type: t.DataType, zone: tzinfo) -> Callable[[str], Any]:
    """Returns the function that reads a whole answer as ``data_type``; it raises `Invalid`."""
    if isinstance(data_type, t.StringType):
        return lambda text: clean_text(text.strip())
    if isinstance(data_type, t.BooleanType):
        return _unwrapping(_boolean, json_of_scalar(_boolean))
    convert = converter_of(data_type, zone)
    if isinstance(data_type, t.ArrayType | t.MapType | t.StructType):
        return lambda text: _composite(convert, text)
    read = _from_text(data_type, convert)
    return _unwrapping(read, json_of_scalar(read))


def _boolean(text: str) -> bool:
    value = _BOOLEANS.get(text.strip().strip(".").lower())
    if value is None:
        raise Invalid("it is neither Yes nor No")
    return value


def _from_text(data_type: t.DataType, convert: Callable[[Any], Any]) -> Callable[[str], Any]:
    if isinstance(data_type, _NUMBERS):
        return lambda text: convert(_number(text))
    return lambda text: convert(text.strip())


def _number(text: str) -> Any:
    value = parse_json(text)
    if isinstance(value, bool | str | list | dict | None):
        raise Invalid("it is not a number")
    return value


def json_of_scalar(read: Callable[[str], Any]) -> Callable[[Any], Any]:
    """Returns ``read`` for a value that came inside JSON: text as it is, anything else as JSON writes it."""
    return lambda value: read(value if isinstance(value, str) else json.dumps(value, default=str))


def _unwrapping(read: Callable[[str], Any], read_json: Callable[[Any], Any]) -> Callable[[str], Any]:
    """Returns ``read``, which gets a second chance with VALUE when the text is ``{"value": VALUE}``."""

    def attempt(text: str) -> Any:
        try:
            return read(text)
        except Invalid:
            if not text.lstrip().startswith("{"):
                raise
            wrapped = parse_json(text)
            if isinstance(wrapped, dict) and wrapped.keys() == {"value"}:
                return read_json(wrapped["value"])
            raise

    return attempt


def _composite(convert: Callable[[Any], Any], text: str) -> Any:
    fenced = _FENCE.fullmatch(text.strip())
    value = parse_json(fenced[1] if fenced else text)
    try:
        return convert(value)
    except Invalid:
        if isinstance(value, dict) and value.keys() == {"value"}:
            return convert(value["value"])
        raise


def parse_json(text: str) -> Any:
    """Returns the JSON value of ``text``: integers as int, other numbers as Decimal.

    Raises:
        Invalid: it is not JSON, which includes NaN and Infinity, or it is nested deeper than Python can go.
    """
    try:
        return _DECODER.decode(text.strip())
    except json.JSONDecodeError as error:
        raise Invalid(f"it is not JSON ({error.msg.lower()} at character {error.pos + 1})") from None
    except (ValueError, RecursionError):
        raise Invalid("it is not JSON that can be read") from None


def _no_constant(name: str) -> Any:
    raise Invalid(f"{name} is not a number of JSON")


_DECODER: Final = json.JSONDecoder(parse_float=Decimal, parse_constant=_no_constant)
