"""A JSON schema as a grammar that fixes the blanks: `{"a": 1, "b": [2, 3]}`, as `json.dumps` writes it.

vLLM's own choices are any whitespace, with which a weak model may fill its whole answer, and none at all,
which few models have seen in training: their tokens join a quote or a colon with the blank after it, and
without the blank their answers get worse (the demo model's became useless).
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any


def with_fixed_blanks(structured_outputs: dict[str, Any]) -> dict[str, Any]:
    """Replaces `json` by `grammar`; other forms stay as they are.

    Args:
        structured_outputs: vLLM's field of that name in a request.
    """
    schema = structured_outputs.get("json")
    if schema is None:
        return structured_outputs
    rest = {key: value for key, value in structured_outputs.items() if key != "json"}
    return {**rest, "grammar": _grammar(schema if isinstance(schema, str) else json.dumps(schema))}


@lru_cache(maxsize=256)
def _grammar(schema: str) -> str:
    from xgrammar import Grammar

    return str(Grammar.from_json_schema(schema, any_whitespace=False, separators=(", ", ": ")))
