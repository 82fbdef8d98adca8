"""The part of a table that a solver has to look at: fields in which something repeats.

constant      the same cell in every row: first, nothing to decide
unique        no cell occurs twice: last, nothing to share
twins         a fixes b and b fixes a (id and name): one field with the tokens of both
pinned        first or last by the caller's word
the rest      what the solver orders
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_llm.planner.kernel import kernel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spark_llm.planner.encode import Encoded


@dataclass(frozen=True, slots=True)
class Reduced:
    """What a solver sees, and how its answer becomes an order of all fields.

    Attributes:
        ids: int32 (n_rows, n_reduced); cells of the reduced fields.
        weights_tokens: float64 (n_ids,); a value's tokens, its twins' included.
        closure_tokens: float64 (n_ids,); the same plus the tokens of all that the value fixes.
        members: places in the table, by reduced field.
        leading: places of fields that stand first in every prompt, in this order.
        last: places of fields that stand last.
        sets: int16 (n_reduced,); number of the set a reduced field belongs to, -1 for none.
        distinct: int64 (n_reduced,); distinct values per reduced field.
        fixes: bool (n_reduced, n_reduced); fixes[a, b]: field a fixes field b, which is then the coarser one.
    """

    ids: NDArray[np.int32]
    weights_tokens: NDArray[np.float64]
    closure_tokens: NDArray[np.float64]
    members: tuple[tuple[int, ...], ...]
    leading: tuple[int, ...]
    last: tuple[int, ...]
    sets: NDArray[np.int16]
    distinct: NDArray[np.int64]
    fixes: NDArray[np.bool_]

    @property
    def has_sets(self) -> bool:
        """Is there a set among the reduced fields?"""
        return bool((self.sets >= 0).any())


def reduce_fields(
    encoded: Encoded, sets: Sequence[Sequence[int]], first: Sequence[int], last: Sequence[int]
) -> Reduced:
    """Returns the reduced table.

    Args:
        encoded: the table.
        sets: places of fields that may change places, by set.
        first: places of fields pinned to the front, in this order.
        last: places of fields pinned to the end.
    """
    rows, fields = encoded.ids.shape
    set_of = {place: nth for nth, group in enumerate(sets) for place in group}
    pinned = {*first, *last}
    constant = [
        place
        for place in range(fields)
        if place not in pinned and place not in set_of and encoded.distinct[place] == 1
    ]
    live = [
        place
        for place in range(fields)
        if place not in pinned
        and place not in constant
        and (place in set_of or encoded.distinct[place] < rows)
    ]
    plain = [place for place in live if place not in set_of]
    columns = np.ascontiguousarray(encoded.ids[:, plain].T)
    fixes = _dependencies(columns, len(encoded.weights_tokens))
    members: dict[int, list[int]] = {place: [place] for place in live}
    twin_of = {}
    for left, right in np.argwhere(np.triu(fixes & fixes.T, 1)):
        if plain[right] in members and plain[left] in members:
            members[plain[left]] += members.pop(plain[right])
            twin_of[plain[right]] = plain[left]
    weights = encoded.weights_tokens.copy()
    for place, twin in twin_of.items():
        _add_once(weights, encoded.ids[:, twin], encoded.weights_tokens[encoded.ids[:, place]])
    closure = weights.copy()
    kept = [nth for nth, place in enumerate(plain) if place in members]
    for left, right in np.argwhere(fixes):
        if left in kept and right in kept:
            _add_once(closure, columns[left], weights[columns[right]])
    reduced = [place for place in range(fields) if place in members]
    at = {place: nth for nth, place in enumerate(reduced)}
    among = np.zeros((len(reduced), len(reduced)), np.bool_)
    for left, right in np.argwhere(fixes):
        if left in kept and right in kept:
            among[at[plain[left]], at[plain[right]]] = True
    return Reduced(
        np.ascontiguousarray(encoded.ids[:, reduced]),
        weights,
        closure,
        tuple(tuple(members[place]) for place in reduced),
        (*first, *constant),
        tuple(last),
        np.array([set_of.get(place, -1) for place in reduced], np.int16),
        encoded.distinct[reduced],
        among,
    )


def _add_once(weights: NDArray[np.float64], ids: NDArray[np.int32], amounts: NDArray[np.float64]) -> None:
    """Adds to each id its amount once, however many rows have it: the rows of an id agree on the amount."""
    once = np.zeros(len(weights))
    once[ids] = amounts
    weights += once


@kernel
def _dependencies(columns: Any, n_ids: Any) -> Any:
    """Bool (m, m): does field a fix field b? By the first row of each value of a; most pairs fail early."""
    fields, rows = columns.shape
    fixes = np.zeros((fields, fields), np.bool_)
    first = np.full(n_ids, -1, np.int64)
    for a in range(fields):
        column = columns[a]
        for row in range(rows):
            first[column[row]] = -1
        for row in range(rows):
            if first[column[row]] < 0:
                first[column[row]] = row
        for b in range(fields):
            if a == b:
                continue
            other, holds = columns[b], True
            for row in range(rows):
                if other[first[column[row]]] != other[row]:
                    holds = False
                    break
            fixes[a, b] = holds
    return fixes
