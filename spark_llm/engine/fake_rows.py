"""How the fake engine reads a user message: the instruction, and the row's fields as a set."""

from __future__ import annotations

import json
from typing import Any

# `list` keeps every pair of an object, so that fields of equal name stay apart and order can be undone.
_pairs = json.JSONDecoder(object_pairs_hook=list).decode


def row_key(user: str) -> bytes:
    """What an answer may depend on: equal for messages that differ in the order of the row's fields only."""
    instruction, found, row = user.rpartition("\n")
    if found and row.startswith("{"):
        try:
            pairs = _pairs(row)
        except ValueError:
            return user.encode(errors="surrogatepass")
        fields = "\0".join(sorted(map(repr, pairs)))
        return f"{instruction}\0{fields}".encode(errors="surrogatepass")
    return user.encode(errors="surrogatepass")


def echo(user: str) -> str:
    """The row of an ECHO message as JSON with sorted names; the rest of the text when there is no row."""
    _, found, row = user.rpartition("\n")
    if found and row.startswith("{"):
        try:
            fields: Any = json.loads(row)
        except ValueError:
            return row
        return json.dumps(fields, sort_keys=True, ensure_ascii=False)
    return user.removeprefix("ECHO").strip()
