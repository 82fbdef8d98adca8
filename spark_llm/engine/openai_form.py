"""Constraints in the one form every OpenAI-compatible server knows: response_format with a JSON schema.

Structured outputs want an object at the top, so other forms travel as {"value": …} and are unwrapped here.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spark_llm.engine.types import Constraint


def response_format(constraint: Constraint | None) -> tuple[dict[str, Any] | None, bool]:
    """The request's response_format (None for free text), and whether the answer comes wrapped."""
    schema = _schema_of(constraint)
    if schema is None:
        return None, False
    wrapped = not (schema.get("type") == "object" and "properties" in schema)
    if wrapped:
        schema = {
            "type": "object",
            "properties": {"value": schema},
            "required": ["value"],
            "additionalProperties": False,
        }
    form = {"name": "answer", "schema": schema, "strict": _is_strict(schema)}
    return {"type": "json_schema", "json_schema": form}, wrapped


def unwrap(text: str) -> str:
    """The value of a wrapped answer: a string as it is, anything else as JSON.

    An answer that is not of the form is returned as it came; who parses it says what is wrong with it.
    """
    try:
        value = json.loads(text)["value"]
    except (ValueError, TypeError, KeyError):
        return text
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _schema_of(constraint: Constraint | None) -> dict[str, Any] | None:
    if constraint is None:
        return None
    if constraint.choice:
        return {"type": "string", "enum": list(constraint.choice)}
    if constraint.regex is not None:
        return {"type": "string", "pattern": f"^(?:{constraint.regex})$"}
    return constraint.json_schema


def _is_strict(schema: Any) -> bool:
    """Whether a schema fits the strict subset: in each object all fields required and no others allowed."""
    if isinstance(schema, list):
        return all(map(_is_strict, schema))
    if not isinstance(schema, dict):
        return True
    if schema.get("type") == "object":
        known = schema.get("properties", {})
        if schema.get("additionalProperties") is not False or set(schema.get("required", ())) != set(known):
            return False
        return _is_strict(list(known.values()))
    return _is_strict([value for key, value in schema.items() if key in {"items", "anyOf"}])
