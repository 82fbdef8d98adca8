"""The objective: prompt tokens left to compute when each request reuses what the one before begins with.

prompt   instruction │ cell │ cell │ cell │ …       whole cells that are equal, then the name of the next
before   instruction │ cell │ cell │ other…         ─► cut down to full blocks ─► shared tokens
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from spark_llm.planner.kernel import kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spark_llm.planner.encode import Encoded


BYTES_PER_TOKEN: Final = 4.0
_NO_SLOTS: Final = np.zeros((0, 0), np.int16)


def shared_tokens(
    encoded: Encoded,
    rows: NDArray[np.int32],
    orders: NDArray[np.int16],
    slots: NDArray[np.int16] | None,
    prompts: NDArray[np.float64],
    instruction_tokens: int,
    block_tokens: int,
    *,
    with_text: bool = False,
) -> NDArray[np.float64]:
    """Returns the tokens that each request shares with the one before, float64 (n_rows,).

    Args:
        encoded: the table.
        rows: int32 (n_rows,); source rows in execution order.
        orders: int16 (n_rows, n_fields); fields in prompt order, per request.
        slots: int16 (n_rows, n_fields), or None without sets; see `RowOrder.slots`.
        prompts: float64 (n_rows,); tokens of each source row's prompt.
        instruction_tokens: what stands before the cells in every prompt.
        block_tokens: the engine shares full blocks only, and never a prompt's last token.
        with_text: count what two unequal cells begin with, up to 8 bytes.
    """
    return _shared(  # type: ignore[no-any-return]
        encoded.ids, rows, orders, _NO_SLOTS if slots is None else slots, encoded.weights_tokens,
        encoded.name_tokens, prompts, float(instruction_tokens), float(block_tokens), encoded.sort_keys,
        with_text,
    )  # fmt: skip


def squared_share(
    encoded: Encoded, rows: NDArray[np.int32], orders: NDArray[np.int16], slots: NDArray[np.int16] | None
) -> float:
    """Returns the paper's prefix hit count (section 3.1) over its maximum."""
    squares = encoded.lengths_bytes**2
    hits, most = _squared_hits(encoded.ids, rows, orders, _NO_SLOTS if slots is None else slots, squares)
    return float(hits) / most if most else 0.0


@kernel
def _cell(ids: Any, rows: Any, slots: Any, at: Any, field: Any) -> Any:
    return ids[rows[at], slots[at, field] if len(slots) else field]


@kernel
def _common_bytes(key: Any, other: Any) -> Any:
    """Leading bytes that two 8-byte starts have in common."""
    differ, common = key ^ other, 8
    while differ > np.uint64(0):
        differ >>= np.uint64(8)
        common -= 1
    return common


@kernel
def _shared(
    ids: Any, rows: Any, orders: Any, slots: Any, weights: Any, name_tokens: Any, prompts: Any, head: Any,
    block: Any, sort_keys: Any, with_text: Any,
) -> Any:  # fmt: skip
    count, fields = ids.shape
    shared = np.zeros(count)
    for at in range(1, count):
        common = head
        for nth in range(fields):
            field = orders[at, nth]
            if orders[at - 1, nth] != field:
                break
            cell = _cell(ids, rows, slots, at, field)
            before = _cell(ids, rows, slots, at - 1, field)
            if before != cell:
                text = (
                    _common_bytes(sort_keys[cell], sort_keys[before]) / BYTES_PER_TOKEN if with_text else 0.0
                )
                common += min(name_tokens[field] + text, weights[cell])
                break
            common += weights[cell]
        shared[at] = np.floor(max(0.0, min(common, prompts[rows[at]] - 1.0)) / block) * block
    return shared


@kernel
def _squared_hits(ids: Any, rows: Any, orders: Any, slots: Any, squares: Any) -> Any:
    hits, most = 0.0, 0.0
    for at in range(len(ids)):
        for field in range(ids.shape[1]):
            most += squares[ids[at, field]]
        for nth in range(ids.shape[1] if at else 0):
            field = orders[at, nth]
            cell = _cell(ids, rows, slots, at, field)
            if orders[at - 1, nth] != field or _cell(ids, rows, slots, at - 1, field) != cell:
                break
            hits += squares[cell]
    return hits, most
