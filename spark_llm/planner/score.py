"""The objective: prompt tokens left to compute when each request reuses what the one before begins with.

prompt      instruction │ cell │ cell │ cell │ …          whole cells that are equal, then the name of the next
before      instruction │ cell │ cell │ other…            ─► cut down to full blocks ─► shared tokens
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spark_llm.planner.encode import Encoded


_NO_SLOTS: Final = np.zeros((0, 0), np.int16)


class Score(NamedTuple):
    """Tokens of all prompts and, of these, the shared ones."""

    prompt_tokens: int
    shared_tokens: int

    @property
    def compute_tokens(self) -> int:
        """What is left to compute."""
        return self.prompt_tokens - self.shared_tokens


def score(
    encoded: Encoded,
    rows: NDArray[np.int32],
    orders: NDArray[np.int16],
    slots: NDArray[np.int16] | None,
    instruction_tokens: int,
    block_tokens: int,
) -> Score:
    """Returns the objective of a plan.

    Args:
        encoded: the table.
        rows: int32 (n_rows,); source rows in execution order.
        orders: int16 (n_rows, n_fields); fields in prompt order, per request.
        slots: int16 (n_rows, n_fields), or None without sets; see `RowOrder.slots`.
        instruction_tokens: what stands before the cells in every prompt.
        block_tokens: the engine shares full blocks only, and never a prompt's last token.
    """
    shared, total = _score(
        encoded.ids, rows, orders, _NO_SLOTS if slots is None else slots, encoded.weights_tokens,
        encoded.name_tokens, float(instruction_tokens), float(block_tokens),
    )  # fmt: skip
    return Score(round(total), round(shared))


def squared_share(
    encoded: Encoded, rows: NDArray[np.int32], orders: NDArray[np.int16], slots: NDArray[np.int16] | None
) -> float:
    """Returns the paper's prefix hit count over its maximum (section 3.1): squared characters of leading cells."""
    squares = encoded.chars**2
    most = float(squares[encoded.ids].sum()) if encoded.ids.size else 0.0
    hits = _squared_hits(encoded.ids, rows, orders, _NO_SLOTS if slots is None else slots, squares)
    return float(hits) / most if most else 0.0


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _cell(ids: Any, rows: Any, slots: Any, at: Any, field: Any) -> Any:
    return ids[rows[at], slots[at, field] if len(slots) else field]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _score(  # noqa: PLR0913  a kernel
    ids: Any, rows: Any, orders: Any, slots: Any, weights: Any, name_tokens: Any, head: Any, block: Any
) -> Any:
    count, fields = ids.shape
    shared, total = 0.0, 0.0
    for at in range(count):
        prompt = head
        for field in range(fields):
            prompt += weights[ids[rows[at], field]]
        total += prompt
        if at == 0:
            continue
        common = head
        for nth in range(fields):
            field = orders[at, nth]
            if orders[at - 1, nth] != field:
                break
            cell = _cell(ids, rows, slots, at, field)
            if _cell(ids, rows, slots, at - 1, field) != cell:
                common += min(name_tokens[field], weights[cell])
                break
            common += weights[cell]
        shared += np.floor(max(0.0, min(common, prompt - 1.0)) / block) * block
    return shared, total


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _squared_hits(ids: Any, rows: Any, orders: Any, slots: Any, squares: Any) -> Any:
    hits = 0.0
    for at in range(1, len(ids)):
        for nth in range(ids.shape[1]):
            field = orders[at, nth]
            cell = _cell(ids, rows, slots, at, field)
            if orders[at - 1, nth] != field or _cell(ids, rows, slots, at - 1, field) != cell:
                break
            hits += squares[cell]
    return hits
