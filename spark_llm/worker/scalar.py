"""JSON values to Python values that Arrow takes as a given Spark type, one converter per type, built once."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, date, datetime, tzinfo
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

from pyspark.sql import types as t

from spark_llm.worker.constraint import INTEGER_BITS

if TYPE_CHECKING:
    from collections.abc import Callable

    Convert = Callable[[Any], Any]

_FLOAT_MAX: Final = 3.4028234663852886e38
_DOUBLE_MAX: Final = 1.7976931348623157e308
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_TIMESTAMP: Final = re.compile(
    r"(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2}(?::\d{2})?)(?:\.(\d{1,9}))?\s*(Z|[+-]\d{2}:?\d{2})?", re.ASCII
)
_WIDE: Final = Context(prec=400)


class Invalid(Exception):  # noqa: N818  not an error of the program: an answer that does not fit
    """An answer has no value of its type; the text says why, to follow "The answer is not a valid INT: ".

    Args:
        reason: why, quoting nothing of the answer.
        value: what of the answer the reason is about, its subject.
        where: the place in the answer.
    """

    def __init__(self, reason: str, value: Any = ..., where: str = "") -> None:
        super().__init__(reason, value, where)
        self.reason, self.value, self.where = reason, value, where

    def text(self, *, quoting: bool) -> str:
        """Why, with up to 40 characters of the value, or with its kind and size alone."""
        if self.value is ...:
            return self.where + self.reason
        subject = _shown(self.value) if quoting else _described(self.value)
        return f"{self.where}{subject} {self.reason}"

    def __str__(self) -> str:
        return self.text(quoting=True)


def converter_of(data_type: t.DataType, zone: tzinfo) -> Convert:
    """Returns the function that turns a parsed JSON value into one of ``data_type``; it raises `Invalid`.

    Maps become lists of pairs and decimals have the type's scale, as Arrow wants them.
    """
    if isinstance(data_type, t.StringType):
        return _string
    if isinstance(data_type, t.BooleanType):
        return _boolean
    if type(data_type) in INTEGER_BITS:
        return _integer(2 ** (INTEGER_BITS[type(data_type)] - 1))
    if isinstance(data_type, t.FloatType | t.DoubleType):
        return _real(_FLOAT_MAX if isinstance(data_type, t.FloatType) else _DOUBLE_MAX)
    if isinstance(data_type, t.DecimalType):
        return _decimal(data_type.precision, data_type.scale)
    if isinstance(data_type, t.DateType):
        return _date
    if isinstance(data_type, t.TimestampType):
        return lambda value: _timestamp(value, zone)
    if isinstance(data_type, t.TimestampNTZType):
        return lambda value: _timestamp(value, None)
    if isinstance(data_type, t.ArrayType):
        return _array(_nullable(converter_of(data_type.elementType, zone), data_type.containsNull))
    if isinstance(data_type, t.MapType):
        return _map(_nullable(converter_of(data_type.valueType, zone), data_type.valueContainsNull))
    if isinstance(data_type, t.StructType):
        fields = data_type.fields
        return _struct([(f.name, _nullable(converter_of(f.dataType, zone), f.nullable)) for f in fields])
    raise TypeError(data_type)  # constraint_of has refused such types before


def clean_text(text: str) -> str:
    """Returns ``text``; half of a surrogate pair, which UTF-8 cannot write, is refused."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise Invalid("it holds half of a surrogate pair, which is not a character") from None
    return text


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise Invalid("is not a string", value)
    return clean_text(value)


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Invalid("is not true or false", value)
    return value


def _integer(limit: int) -> Convert:
    def convert(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise Invalid("is not a whole number", value)
        if not -limit <= value < limit:
            raise Invalid(f"is outside of {-limit} to {limit - 1}", value)
        return value

    return convert


def _real(largest: float) -> Convert:
    def convert(value: Any) -> float:
        _require_number(value)
        try:
            number = float(value)
        except OverflowError:  # a large int; a large Decimal becomes infinite
            number = math.inf
        if abs(number) > largest:
            raise Invalid("is larger than the type can hold", value)
        return number

    return convert


def _decimal(precision: int, scale: int) -> Convert:
    unit, limit = Decimal(1).scaleb(-scale), Decimal(10) ** (precision - scale)

    def convert(value: Any) -> Decimal:
        _require_number(value)
        try:
            rounded = Decimal(value).quantize(unit, ROUND_HALF_UP, _WIDE)  # as CAST rounds
        except InvalidOperation:
            rounded = limit
        if abs(rounded) >= limit:
            raise Invalid(f"has more than {precision - scale} digits before the point", value)
        return rounded

    return convert


def _require_number(value: Any) -> None:
    if not isinstance(value, int | Decimal) or isinstance(value, bool):
        raise Invalid("is not a number", value)


def _date(value: Any) -> date:
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        raise Invalid("is not a date of the form 2024-12-31", value)
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise Invalid("is not in the calendar", value) from None


def _timestamp(value: Any, zone: tzinfo | None) -> datetime:
    """Returns UTC when there is a zone, else (TIMESTAMP_NTZ) the time as it is, which must have no offset."""
    match = _TIMESTAMP.fullmatch(value) if isinstance(value, str) else None
    if match is None or (zone is None and match[4]):
        offset = ", without an offset" if zone is None else ""
        raise Invalid(f"is not a time of the form 2024-12-31T23:59:59{offset}", value)
    try:
        # Nine digits may come; Spark keeps six.
        fraction = f".{match[3][:6]:0<6}" if match[3] else ""
        time = datetime.fromisoformat(f"{match[1]}T{match[2]}{fraction}{match[4] or ''}")
        if zone is None:
            return time
        return (time if time.tzinfo else time.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Invalid("is not in the calendar", value) from None


def _nullable(convert: Convert, allowed: bool) -> Convert:
    return (lambda value: None if value is None else convert(value)) if allowed else convert


def _array(element: Convert) -> Convert:
    def convert(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise Invalid("is not an array", value)
        return [element(item) for item in value]

    return convert


def _map(convert_value: Convert) -> Convert:
    def convert(value: Any) -> list[tuple[str, Any]]:
        if not isinstance(value, dict):
            raise Invalid("is not an object", value)
        return [(clean_text(key), convert_value(item)) for key, item in value.items()]

    return convert


def _struct(fields: list[tuple[str, Convert]]) -> Convert:
    def convert(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise Invalid("is not an object", value)
        for name, _ in fields:
            if name not in value:
                raise Invalid(f"the field {name} is missing")
        try:
            return {name: read(value[name]) for name, read in fields}
        except Invalid:
            _blame(fields, value)
            raise

    return convert


def _blame(fields: list[tuple[str, Convert]], value: dict[str, Any]) -> None:
    for name, read in fields:
        try:
            read(value[name])
        except Invalid as reason:
            where = f"in the field {name}, {reason.where}"
            raise Invalid(reason.reason, reason.value, where) from None


def _shown(value: Any, limit: int = 40) -> str:
    try:
        text = (
            str(value) if isinstance(value, Decimal) else json.dumps(value, default=str, ensure_ascii=False)
        )
    except (ValueError, RecursionError):
        text = type(value).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _described(value: Any) -> str:
    if isinstance(value, str):
        return f"a text of length {len(value):,}"
    if isinstance(value, list):
        return f"an array of length {len(value):,}"
    if isinstance(value, dict):
        return f"an object of size {len(value):,}"
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return "a number"
    return "null" if value is None else "a truth value"
