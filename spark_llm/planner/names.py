"""What a caller says about fields, checked before anything is computed."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from spark_llm.planner.policies import POLICIES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def check_request(
    fields: Sequence[str],
    policy: str,
    sets: Sequence[Sequence[str]],
    first: Sequence[str],
    last: Sequence[str],
) -> None:
    """Raises ValueError, with what came and what was allowed, for a request that has no meaning."""
    if policy not in POLICIES:
        raise ValueError(f"unknown policy {policy!r}; allowed: {', '.join(POLICIES)}")
    if len(set(fields)) != len(fields):
        twice = next(name for name in fields if list(fields).count(name) > 1)
        raise ValueError(f"two fields are named {twice!r}; a prompt needs a name of its own for each")
    given = [name for group in (*sets, first, last) for name in group]
    for name in given:
        if name not in fields:
            near = get_close_matches(name, fields, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"unknown field {name!r}; the table has {', '.join(map(repr, fields))}{hint}")
        if given.count(name) > 1:
            raise ValueError(f"the field {name!r} is named twice; sets and pinned fields may not overlap")


def places_of(places: Mapping[str, int], names: Sequence[str]) -> tuple[int, ...]:
    """Returns the places of fields, in the order of `names`."""
    return tuple(places[name] for name in names)
