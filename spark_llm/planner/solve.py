"""The solver: a table in, a verified `RowOrder` out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from spark_llm.planner.encode import Encoded, encode
from spark_llm.planner.first_look import LEAST_SHARE, most_shareable, nothing_repeats
from spark_llm.planner.interleave import interleaved
from spark_llm.planner.methods import Start
from spark_llm.planner.names import check_request, places_of
from spark_llm.planner.plan import Problem
from spark_llm.planner.portfolio import solve
from spark_llm.planner.reduce_fields import Reduced, reduce_fields
from spark_llm.planner.row_order import RowOrder, verify
from spark_llm.planner.score import shared_tokens, squared_share
from spark_llm.planner.tail import distinct_orders, leading_groups, tail_rank

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from spark_llm.planner.encode import CountTokens

INSTRUCTION_TOKENS: Final = 48
BLOCK_TOKENS: Final = 16


def order_table(
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
        sets: groups of fields that are interchangeable, such as retrieved passages; their names belong to
            places in the prompt and their cells move.
        first: fields pinned to the front of every prompt, in this order.
        last: fields pinned to the end, in this order.
        instruction_tokens: tokens before the first cell of every prompt, the system message included.
        block_tokens: tokens of a block of the engine's KV cache; only full blocks are shared.
        in_flight: requests that run at a time in an engine which cannot share among them; 0 where it can.
            Runs of the plan are then interleaved so that neighbours are far apart in time (see `interleave`).
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
    reason = nothing_repeats(table, seed) if policy != "original" else ""
    if reason:
        # even to know what the prompts cost would take as long as solving
        return _as_it_came(table, pinned, reason, None)
    encoded = encode(table, set_places, count_tokens, null_is_left_out)
    if policy == "original":
        reason = "the policy is original"
    elif table.num_rows < 2 or table.num_columns == 0:
        reason = "fewer than two rows, or no fields"
    elif most_shareable(encoded) < LEAST_SHARE:
        reason = f"less than {LEAST_SHARE:.0%} of the cells' tokens repeat within their field"
    if reason:
        return _as_it_came(table, pinned, reason, _Cost(encoded, instruction_tokens, block_tokens))
    order = _solve(
        table, encoded, set_places, pinned, policy, budget_s, seed, instruction_tokens, block_tokens
    )
    verify(order, table.num_rows, set_places, encoded.ids)
    return interleaved(order, in_flight) if in_flight > 0 else order


def _solve(
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
    start = _start(encoded, reduced, first)
    problem = Problem(encoded, reduced, tail_rank(encoded, seed), start, instruction_tokens, block_tokens)
    plan = solve(problem, policy, budget_s)
    rows, full, cells = plan.candidate.rows, plan.full, problem.cells(plan.candidate)
    slots = problem.full_slots(plan.candidate)
    orders, index = distinct_orders(full)
    return RowOrder(
        fields=tuple(table.column_names),
        row_indices=rows.astype(np.int64),
        orders=orders,
        order_index=index,
        slots=slots,
        group_index=leading_groups(cells, full, 1 if first else len(reduced.leading) + 1),
        policy=plan.method,
        reason="",
        prompt_tokens=plan.prompt_tokens,
        shared_tokens=plan.prompt_tokens - plan.compute_tokens,
        squared_share=squared_share(encoded, rows, full, slots),
    )


def _start(encoded: Encoded, reduced: Reduced, first: tuple[int, ...]) -> Start:
    """Rows sorted by the pinned first fields, in groups of equal ones."""
    rows = len(encoded.ids)
    slots = None
    if reduced.has_sets:
        slots = np.tile(np.arange(reduced.ids.shape[1], dtype=np.int16), (rows, 1))
    if not first:
        return Start(np.arange(rows, dtype=np.int32), np.array([0, rows]), slots)
    keys = encoded.ids[:, list(first)]
    order = np.lexsort(keys.T[::-1]).astype(np.int32)
    changes = (keys[order][1:] != keys[order][:-1]).any(axis=1)
    starts = np.concatenate([[0], np.flatnonzero(changes) + 1, [rows]]).astype(np.int64)
    return Start(order, starts, slots)


def _as_it_came(
    table: pa.Table, pinned: tuple[tuple[int, ...], tuple[int, ...]], reason: str, cost: _Cost | None
) -> RowOrder:
    """The rows as they are, fields as written but for the pinned ones, and what that costs."""
    rows, fields = table.num_rows, table.num_columns
    first, last = pinned
    middle = [place for place in range(fields) if place not in first and place not in last]
    order = np.array([[*first, *middle, *last]], np.int16).reshape(1, fields)
    index, places = np.zeros(rows, np.int32), np.arange(rows, dtype=np.int32)
    prompt_tokens, shared, squares, groups = 0, 0, 0.0, places
    if cost is not None:
        encoded = cost.encoded
        prompts = encoded.row_tokens + cost.instruction_tokens
        full = order[index]
        prompt_tokens = round(float(prompts.sum()))
        shared = round(
            float(
                shared_tokens(
                    encoded, places, full, None, prompts, cost.instruction_tokens, cost.block_tokens
                ).sum()
            )
        )
        squares = squared_share(encoded, places, full, None)
        groups = leading_groups(encoded.ids, full, 1)
    return RowOrder(
        fields=tuple(table.column_names),
        row_indices=np.arange(rows, dtype=np.int64),
        orders=order,
        order_index=index,
        slots=None,
        group_index=groups,
        policy="original",
        reason=reason,
        prompt_tokens=prompt_tokens,
        shared_tokens=shared,
        squared_share=squares,
    )


class _Cost(NamedTuple):
    """What the cost of a plan is counted with."""

    encoded: Encoded
    instruction_tokens: int
    block_tokens: int
