"""The solver: a table in, a verified `RowOrder` out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from spark_llm.planner import tail
from spark_llm.planner.encode import Encoded, encode
from spark_llm.planner.first_look import LEAST_SHARE, most_shareable, nothing_repeats
from spark_llm.planner.interleave import interleaved
from spark_llm.planner.names import check_request, places_of
from spark_llm.planner.portfolio import DEFAULT_BUDGET_S, Candidate, Problem, run_methods
from spark_llm.planner.reduce_fields import Reduced, reduce_fields
from spark_llm.planner.row_order import RowOrder, verify
from spark_llm.planner.score import Score, score, squared_share

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from spark_llm.planner.encode import CountTokens

INSTRUCTION_TOKENS: Final = 48
BLOCK_TOKENS: Final = 16


def order_table(  # noqa: PLR0913  each is a thing a caller may know
    table: pa.Table,
    *,
    policy: str = "default",
    sets: Sequence[Sequence[str]] = (),
    first: Sequence[str] = (),
    last: Sequence[str] = (),
    instruction_tokens: int = INSTRUCTION_TOKENS,
    block_tokens: int = BLOCK_TOKENS,
    in_flight: int = 0,
    budget_s: float | None = None,
    seed: int = 0,
    count_tokens: CountTokens | None = None,
    null_is_left_out: bool = False,
) -> RowOrder:
    """Orders rows, and each row's fields, so that the engine's prefix cache saves most of the prompts.

    Deterministic: the same table and arguments give the same plan, on every machine.

    Args:
        table: one column per field, one row per question; any Arrow types. No cell is changed.
        policy: one of `policies.POLICIES`.
        sets: groups of fields that are interchangeable, such as retrieved passages; their names belong to places
            in the prompt and their cells move.
        first: fields pinned to the front of every prompt, in this order.
        last: fields pinned to the end, in this order.
        instruction_tokens: tokens before the first cell of every prompt, the system message included.
        block_tokens: tokens of a block of the engine's KV cache; only full blocks are shared.
        in_flight: requests that run at a time in an engine which cannot share among them; 0 where it can. Runs of
            the plan are then interleaved so that neighbours are far apart in time (see `interleave`).
        budget_s: for `thorough`: estimated seconds on one core that slower methods may add; default 5.
        seed: of the samples that a large table is first looked at with.
        count_tokens: exact tokens of distinct texts; None for the estimate of `token_estimate`.
        null_is_left_out: prompts leave a null field out, as `llm()` does; else it reads "".

    Returns:
        A plan that was verified: a permutation of the rows and of each row's fields.

    Raises:
        ValueError: an unknown policy or field, or a field in two of `sets`, `first` and `last`.
    """
    check_request(table.column_names, policy, sets, first, last)
    places = {name: place for place, name in enumerate(table.column_names)}
    set_places = tuple(tuple(places[name] for name in group) for group in sets)
    pinned = places_of(places, first), places_of(places, last)
    lonely = table.num_rows < 2 or table.num_columns == 0
    reason = "nothing to order: fewer than two rows, or no fields" if lonely else nothing_repeats(table, seed)
    if reason and policy != "original" and not lonely:
        # even to know what the prompts cost would take as long as solving
        return _as_it_came(table, pinned, None, Score(0, 0), 0.0, reason)
    encoded = encode(table, set_places, count_tokens, null_is_left_out)
    if policy == "original":
        reason = "the policy is original"
    elif not reason and most_shareable(encoded) < LEAST_SHARE:
        reason = f"less than {LEAST_SHARE:.0%} of the cells' tokens repeat within their field"
    if reason:
        return _measured(table, encoded, pinned, reason, instruction_tokens, block_tokens)
    order = _solve(
        table, encoded, set_places, pinned, policy, budget_s, seed, instruction_tokens, block_tokens
    )
    verify(order, table.num_rows, set_places, encoded.ids)
    return interleaved(order, in_flight) if in_flight > 0 else order


def _solve(  # noqa: PLR0913
    table: pa.Table,
    encoded: Encoded,
    sets: tuple[tuple[int, ...], ...],
    pinned: tuple[tuple[int, ...], tuple[int, ...]],
    policy: str,
    budget_s: float | None,
    seed: int,
    instruction_tokens: int,
    block_tokens: int,
) -> RowOrder:
    first, last = pinned
    reduced = reduce_fields(encoded, sets, first, last)
    rank = tail.tail_rank(encoded, seed)
    start_rows, starts = _pinned_groups(encoded, first)
    problem = Problem(reduced, start_rows, starts)
    methods = problem.methods(policy, DEFAULT_BUDGET_S if budget_s is None else budget_s)
    best: tuple[int, Candidate, NDArray[np.int16], NDArray[np.int16], Score] | None = None
    for candidate in run_methods(methods, table.num_rows):
        full, lead = tail.full_orders(reduced, candidate.orders, candidate.fixed, rank)
        slots = _full_slots(reduced, candidate, table.num_columns)
        result = score(encoded, candidate.rows, full, slots, instruction_tokens, block_tokens)
        if best is None or result.compute_tokens < best[0]:
            best = (result.compute_tokens, candidate, full, lead, result)
    if best is None:
        raise AssertionError(policy)
    _, candidate, full, lead, result = best
    slots = _full_slots(reduced, candidate, table.num_columns)
    cells = encoded.ids[candidate.rows]
    if slots is not None:
        cells = np.take_along_axis(cells, slots.astype(np.int64), axis=1)
    positions = tail.sorted_within_groups(cells, full, lead, encoded.sort_keys)
    rows, full, cells = candidate.rows[positions], full[positions], cells[positions]
    slots = None if slots is None else slots[positions]
    orders, index = tail.distinct_orders(full)
    return RowOrder(
        fields=tuple(table.column_names),
        row_indices=rows.astype(np.int64),
        orders=orders,
        order_index=index,
        slots=slots,
        group_index=tail.leading_groups(cells, full, 0 if first else len(reduced.leading)),
        policy=candidate.method,
        reason="",
        prompt_tokens=result.prompt_tokens,
        shared_tokens=result.shared_tokens,
        squared_share=squared_share(encoded, rows, full, slots),
    )


def _pinned_groups(encoded: Encoded, first: tuple[int, ...]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Rows sorted by the pinned first fields, and where each group of equal ones begins."""
    rows = len(encoded.ids)
    if not first:
        return np.arange(rows, dtype=np.int32), np.array([0, rows])
    keys = encoded.ids[:, list(first)]
    order = np.lexsort(keys.T[::-1]).astype(np.int32)
    changes = (keys[order][1:] != keys[order][:-1]).any(axis=1)
    return order, np.concatenate([[0], np.flatnonzero(changes) + 1, [rows]])


def _full_slots(reduced: Reduced, candidate: Candidate, fields: int) -> NDArray[np.int16] | None:
    if candidate.slots is None:
        return None
    members = np.array([group[0] for group in reduced.members], np.int16)
    slots = np.tile(np.arange(fields, dtype=np.int16), (len(candidate.rows), 1))
    for nth, place in enumerate(members):
        if reduced.sets[nth] >= 0:
            slots[:, place] = members[candidate.slots[:, nth]]
    return slots


def _measured(  # noqa: PLR0913
    table: pa.Table,
    encoded: Encoded,
    pinned: tuple[tuple[int, ...], tuple[int, ...]],
    reason: str,
    instruction_tokens: int,
    block_tokens: int,
) -> RowOrder:
    order = _as_it_came(table, pinned, encoded, Score(0, 0), 0.0, reason)
    rows = np.arange(table.num_rows, dtype=np.int32)
    full = order.orders[order.order_index]
    result = score(encoded, rows, full, None, instruction_tokens, block_tokens)
    share = squared_share(encoded, rows, full, None)
    return _as_it_came(table, pinned, encoded, result, share, reason)


def _as_it_came(  # noqa: PLR0913
    table: pa.Table,
    pinned: tuple[tuple[int, ...], tuple[int, ...]],
    encoded: Encoded | None,
    result: Score,
    share: float,
    reason: str,
) -> RowOrder:
    """The rows as they are, fields as written but for the pinned ones."""
    rows, fields = table.num_rows, table.num_columns
    first, last = pinned
    middle = [place for place in range(fields) if place not in first and place not in last]
    full = np.array([[*first, *middle, *last]], np.int16).reshape(1, fields)
    index = np.zeros(rows, np.int32)
    groups = (
        np.arange(rows, dtype=np.int32)
        if encoded is None or not fields
        else tail.leading_groups(encoded.ids, full[index], 0)
    )
    return RowOrder(
        fields=tuple(table.column_names),
        row_indices=np.arange(rows, dtype=np.int64),
        orders=full,
        order_index=index,
        slots=None,
        group_index=groups,
        policy="original",
        reason=reason,
        prompt_tokens=result.prompt_tokens,
        shared_tokens=result.shared_tokens,
        squared_share=share,
    )
