"""A prefix cache as paged engines keep one: blocks found by key, the least recently used go first.

request ──► how many leading blocks are in the cache?  those tokens are reused
        ──► all its full blocks become the most recent, its tail being the first of them to go
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spark_llm.planner.kernel import kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spark_llm.analyze.blocks import Blocks


def reused_tokens(blocks: Blocks, cache_tokens: int = 0, in_flight: int = 0) -> NDArray[np.int64]:
    """Returns prompt tokens found in the cache, int64 (n_requests,).

    Args:
        blocks: the requests in execution order.
        cache_tokens: size of the cache; 0 for one without a limit.
        in_flight: a prompt's blocks can be found only this many requests later, as when so many are prefilled
            together and the engine does not share among them.

    The last token of a prompt is always computed, so a block that ends with it does not count.
    """
    dense, distinct = _dense(blocks.keys)
    found: NDArray[np.int64] = _simulate(
        dense, distinct, blocks.offsets, blocks.prompt_tokens, blocks.block_tokens,
        cache_tokens // blocks.block_tokens, in_flight,
    )  # fmt: skip
    return found


@kernel
def _dense(keys: Any) -> Any:
    """Numbers the keys in order of appearance: int32 (n_keys,), and how many are distinct."""
    size = 16
    while size < 2 * len(keys):
        size *= 2
    table = np.full(size, -1, np.int64)
    mask = np.uint64(size - 1)
    out = np.empty(len(keys), np.int32)
    first = np.empty(len(keys), np.int64)
    distinct = 0
    for i in range(len(keys)):
        key = keys[i]
        slot = (key ^ (key >> np.uint64(29))) & mask
        while table[slot] >= 0 and keys[first[table[slot]]] != key:
            slot = (slot + np.uint64(1)) & mask
        if table[slot] < 0:
            table[slot] = distinct
            first[distinct] = i
            distinct += 1
        out[i] = table[slot]
    return out, distinct


@kernel
def _touch(block: Any, before: Any, after: Any, inside: Any) -> Any:
    """Makes a block the most recent one; the last entry holds the list's ends. Returns 1 if it is new."""
    end = len(before) - 1
    new = 0 if inside[block] else 1
    if not new:
        after[before[block]] = after[block]
        before[after[block]] = before[block]
    inside[block] = True
    last = before[end]
    after[last], before[block] = block, last
    after[block], before[end] = end, block
    return new


@kernel
def _simulate(
    dense: Any, distinct: Any, offsets: Any, prompt_tokens: Any, block_tokens: Any, limit: Any, in_flight: Any
) -> Any:  # fmt: skip
    requests = len(offsets) - 1
    out = np.zeros(requests, np.int64)
    before, after = np.empty(distinct + 1, np.int32), np.empty(distinct + 1, np.int32)
    before[distinct] = after[distinct] = distinct
    inside = np.zeros(distinct, np.bool_)
    held = 0
    for p in range(requests):
        begin = offsets[p]
        usable = max((prompt_tokens[p] - 1) // block_tokens, 0)
        good = 0
        while good < usable and inside[dense[begin + good]]:
            good += 1
        out[p] = good * block_tokens
        for k in range(begin + good - 1, begin - 1, -1):
            held += _touch(dense[k], before, after, inside)
        done = p - in_flight
        if done >= 0:
            for k in range(offsets[done + 1] - 1, offsets[done] - 1, -1):
                held += _touch(dense[k], before, after, inside)
        while limit and held > limit:
            oldest = after[distinct]
            after[distinct] = after[oldest]
            before[after[oldest]] = distinct
            inside[oldest] = False
            held -= 1
    return out
