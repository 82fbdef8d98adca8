"""Values of an asked form (choice, regex, JSON schema, free text), picked by a digest."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spark_llm import errors
from spark_llm.engine.fake_regex import regex_value

if TYPE_CHECKING:
    from spark_llm.engine.types import Constraint


def _date(number: int) -> str:
    return f"{2000 + number % 25}-{number // 25 % 12 + 1:02d}-{number // 300 % 28 + 1:02d}"


def _time(number: int) -> str:
    return f"{number // 8400 % 24:02d}:{number // 7 % 60:02d}:00"


# Tried in this order. All are real values of a SQL type, which a blind walk through \d{4}-\d{2} is not.
_TYPED: tuple[Callable[[int], str], ...] = (
    lambda n: str(n % 100),
    lambda n: f"{n % 100}.{n // 100 % 100:02d}",
    lambda n: f"{n % 10}.{n // 10 % 10}",
    lambda n: f"0.{n % 10}",
    lambda n: str(n % 10),
    _date,
    lambda n: f"{_date(n)}T{_time(n)}",
    lambda n: f"{_date(n)} {_time(n)}",
    lambda n: f"{_date(n)}T{_time(n)}Z",
)
_PROBES = tuple(number * 0x9E3779B97F4A7C15 % (1 << 64) for number in range(1, 33))
_FORMATS: dict[str, Callable[[int], str]] = {"date": _date, "date-time": lambda n: f"{_date(n)}T{_time(n)}"}


@dataclass(frozen=True, slots=True)
class Form:
    """How to write an answer: `name` is equal for equal constraints, `render` maps 8 bytes to the text."""

    name: str
    render: Callable[[bytes], str]


def form_of(constraint: Constraint | None) -> Form:
    """The form that `constraint` asks for; free text without one."""
    if constraint is None:
        return Form("text", lambda digest: f"fake:{digest[:4].hex()}")
    if constraint.choice:
        choice, count = constraint.choice, len(constraint.choice)
        return Form(f"choice{choice}", lambda digest: choice[int.from_bytes(digest, "big") % count])
    if constraint.regex is not None:
        write = _regex_writer(constraint.regex)
        return Form(f"regex{constraint.regex}", lambda digest: write(int.from_bytes(digest, "big")))
    if constraint.json_schema is not None:
        schema = constraint.json_schema
        return Form(
            f"json{json.dumps(schema, sort_keys=True)}",
            lambda digest: json.dumps(json_value(schema, int.from_bytes(digest, "big")), ensure_ascii=False),
        )
    return form_of(None)


def _regex_writer(regex: str) -> Callable[[int], str]:
    try:
        pattern = re.compile(regex)
    except re.error as error:
        raise errors.request_rejected(f"the regular expression {regex!r} is not valid ({error})") from error
    for write in _TYPED:
        if all(pattern.fullmatch(write(probe)) for probe in _PROBES):
            return write
    return lambda number: regex_value(regex, number)


def json_value(schema: dict[str, Any], number: int) -> Any:
    """A value that fits `schema`, picked by `number`; knows what a SQL type's schema holds.

    That is: type, properties, items with minItems, enum, const, anyOf / oneOf, pattern, format, minimum and
    maximum, additionalProperties of a map.
    """
    if "const" in schema:
        return schema["const"]
    for key in ("enum", "anyOf", "oneOf"):
        if options := schema.get(key):
            picked = options[number % len(options)]
            return picked if key == "enum" else json_value(picked, number // len(options))
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = next((name for name in kind if name != "null"), "null")
    write: Callable[[dict[str, Any], int], Any] = _OF_TYPE.get(kind, _string)
    return write(schema, number)


def _mix(number: int, salt: int) -> int:
    return (number ^ (salt + 1) * 0x9E3779B97F4A7C15) * 0xD6E8FEB86659FD93 % (1 << 64) >> 7


def _object(schema: dict[str, Any], number: int) -> dict[str, Any]:
    known = schema.get("properties", {})
    fields = {name: json_value(sub, _mix(number, place)) for place, (name, sub) in enumerate(known.items())}
    values = schema.get("additionalProperties")
    if not known and isinstance(values, dict):
        return {f"key{place}": json_value(values, _mix(number, place)) for place in range(1 + number % 2)}
    return fields


def _array(schema: dict[str, Any], number: int) -> list[Any]:
    least = schema.get("minItems", 1)
    size = min(least + number % 2, schema.get("maxItems", least + 1))
    return [json_value(schema.get("items", {}), _mix(number, place)) for place in range(size)]


def _string(schema: dict[str, Any], number: int) -> str:
    if "pattern" in schema:
        return _regex_writer(schema["pattern"])(number)
    if (write := _FORMATS.get(schema.get("format", ""))) is not None:
        return write(number)
    return f"fake:{number % (1 << 32):08x}"[: schema.get("maxLength")]


def _integer(schema: dict[str, Any], number: int) -> int:
    low = int(schema.get("minimum", min(0, schema.get("maximum", 0))))
    high = int(schema.get("maximum", low + 99))
    return low + number % (min(high, low + 99) - low + 1)


def _number(schema: dict[str, Any], number: int) -> float:
    low = float(schema.get("minimum", min(0, schema.get("maximum", 0))))
    span = min(float(schema.get("maximum", low + 100)) - low, 100.0)
    return low + span * (number % 1000) / 1000


_OF_TYPE: dict[str, Callable[[dict[str, Any], int], Any]] = {
    "object": _object,
    "array": _array,
    "string": _string,
    "integer": _integer,
    "number": _number,
    "boolean": lambda _schema, number: number % 2 == 0,
    "null": lambda _schema, _number: None,
}
