"""Prompts to block keys, without ever holding the prompts.

    head  "name": value  , "name": value … }      tokens of segments, each stored once
    |----16----|----16----|----16----|--          full blocks; the rest of a prompt has no key
        key0       key1       key2                key k: hash of all tokens up to block k's end

Equal keys are equal prefixes, as in the block hash chains of vLLM and SGLang.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from spark_llm.planner.kernel import kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spark_llm.analyze.cells import Cells
    from spark_llm.analyze.orders import Requests


class Blocks(NamedTuple):
    """Full blocks of all requests, in execution order.

    Attributes:
        keys: uint64 (n_blocks,); request p has ``keys[offsets[p]:offsets[p + 1]]``.
        offsets: int64 (n_requests + 1,).
        prompt_tokens: int64 (n_requests,).
        block_tokens: tokens per block.
    """

    keys: NDArray[np.uint64]
    offsets: NDArray[np.int64]
    prompt_tokens: NDArray[np.int64]
    block_tokens: int


def prompt_blocks(cells: Cells, requests: Requests, block_tokens: int = 16) -> Blocks:
    """Returns the block keys of all requests, in execution order."""
    levels = level_tokens(cells, requests)
    prompt_tokens = levels.sum(axis=1) + cells.head_tokens + cells.tail_tokens
    offsets = np.zeros(len(requests.rows) + 1, np.int64)
    np.cumsum(prompt_tokens // block_tokens, out=offsets[1:])
    keys = _keys(
        cells.segments.ids, cells.segments.offsets, cells.ids, cells.left_out, requests.rows, requests.orders,
        requests.order_index, requests.slots_or_none(), offsets, block_tokens,
    )  # fmt: skip
    return Blocks(keys, offsets, prompt_tokens, block_tokens)


def level_tokens(cells: Cells, requests: Requests) -> NDArray[np.int64]:
    """Returns the tokens of each request's cells in prompt order, int64 (n_requests, n_fields)."""
    lengths = np.diff(cells.segments.offsets)
    fields = requests.orders[requests.order_index]
    columns = fields if requests.slots is None else np.take_along_axis(requests.slots, fields, axis=1)
    ids = cells.ids[requests.rows[:, None], columns]
    kept = ~cells.left_out[ids]
    first = kept & (np.cumsum(kept, axis=1) == 1)
    count = cells.ids.shape[1]
    names = np.where(first, lengths[2 + fields], lengths[2 + count + fields])
    found: NDArray[np.int64] = (names + lengths[2 + 2 * count + ids]) * kept
    return found


@kernel
def _keys(  # noqa: PLR0913, PLR0917  a kernel
    tokens: Any, starts: Any, ids: Any, left_out: Any, rows: Any, orders: Any, order_index: Any, slots: Any,
    offsets: Any, block_tokens: Any,
) -> Any:  # fmt: skip
    fields = ids.shape[1]
    out = np.empty(offsets[-1], np.uint64)
    prime, mixer = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
    shift = np.uint64(32)
    for p in range(len(rows)):
        chain, filled, at, end = prime, 0, offsets[p], offsets[p + 1]
        order = orders[order_index[p]]
        begun = False
        # segment 0 is the head, 1 the tail, then names when first, names when later, values
        for part in range(2 * fields + 2):
            if at == end:
                break
            if part == 0:
                segment = 0
            elif part == 2 * fields + 1:
                segment = 1
            else:
                field = order[(part - 1) >> 1]
                column = slots[p, field] if slots.shape[0] else field
                cell = ids[rows[p], column]
                if left_out[cell]:
                    continue
                if part & 1:
                    segment = 2 + fields + field if begun else 2 + field
                    begun = True
                else:
                    segment = 2 + 2 * fields + cell
            for token in tokens[starts[segment] : starts[segment + 1]]:
                chain = (chain ^ np.uint64(token)) * mixer
                chain ^= chain >> shift
                filled += 1
                if filled == block_tokens:
                    out[at] = chain
                    at += 1
                    filled = 0
                    if at == end:
                        break
    return out
