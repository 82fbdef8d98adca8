"""Where the fields of a call stand in its prompts: chosen order, interchangeable groups, pinned fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spark_llm.errors import SparkLLMError, engine_failed

if TYPE_CHECKING:
    from collections.abc import Mapping

Places = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """Positions into the call's field names, all of them 0-based.

    Attributes:
        field_order: the order that the plan chose, a permutation; as written where it chose none.
        any_order: groups whose values may change places, each of two positions or more, in written order.
        first: fields that stay in front of all others, in this order.
        last: fields that stay behind all others, in this order.
        sorted: rows come clustered and sorted by ``field_order``.
    """

    field_order: Places
    any_order: tuple[Places, ...] = ()
    first: Places = ()
    last: Places = ()
    sorted: bool = False


def parse_layout(call: Mapping[str, Any]) -> Layout:
    """Reads the layout keys of a spec's call; a key that is missing means "as written".

    Raises:
        SparkLLMError: LLM_ENGINE_FAILED, naming the key, what came and what is allowed. The JVM checks what
            users write, so a wrong value here is a fault between the jar and this package.
    """
    count = len(call["field_names"])
    every = tuple(range(count))
    order = _places(call, "field_order", count, every)
    if sorted(order) != list(every):
        raise _wrong("field_order", call["field_order"], f"each position from 0 to {count - 1} once")
    groups = call.get("any_order")
    if not isinstance(groups, list | None):
        raise _wrong("any_order", groups, "a list of lists of positions")
    any_order = tuple(
        tuple(sorted(_places({"any_order": group}, "any_order", count, ()))) for group in groups or ()
    )
    first, last = _places(call, "first", count, ()), _places(call, "last", count, ())
    used = [place for group in any_order for place in group]
    if len(set(used)) != len(used):
        raise _wrong("any_order", groups, "each position in one group at most")
    if set(first) & set(last) or (set(first) | set(last)) & set(used):
        raise _wrong("first", [*first, *last], "positions that are pinned once and in no any_order group")
    rows_sorted = call.get("sorted", False)
    if not isinstance(rows_sorted, bool):
        raise _wrong("sorted", rows_sorted, "true or false")
    return Layout(order, tuple(group for group in any_order if len(group) > 1), first, last, rows_sorted)


def _places(call: Mapping[str, Any], key: str, count: int, default: Places) -> Places:
    value = call.get(key)
    if value is None:
        return default
    allowed = f"positions from 0 to {count - 1}, each once at most"
    if not isinstance(value, list) or not all(type(place) is int for place in value):
        raise _wrong(key, value, allowed)
    if len(set(value)) != len(value) or not all(0 <= place < count for place in value):
        raise _wrong(key, value, allowed)
    return tuple(value)


def _wrong(key: str, value: Any, allowed: str) -> SparkLLMError:
    return engine_failed(
        f"the spec of the call has {key} = {value!r}, allowed is {allowed}; "
        "install the same release of pyspark-llm on the driver and on the executors"
    )
