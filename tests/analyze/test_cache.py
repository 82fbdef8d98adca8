from collections import OrderedDict, deque

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_llm.analyze.blocks import Blocks
from spark_llm.analyze.cache import reused_tokens

BLOCK = 4
prompts = st.lists(st.lists(st.integers(0, 1), max_size=14), max_size=25)


def blocks_of(tokens):
    chains = [[hash(tuple(t[: BLOCK * (k + 1)])) % 2**64 for k in range(len(t) // BLOCK)] for t in tokens]
    offsets = np.concatenate([[0], np.cumsum([len(chain) for chain in chains])]).astype(np.int64)
    keys = np.array([key for chain in chains for key in chain], np.uint64)
    return Blocks(keys, offsets, np.array([len(t) for t in tokens], np.int64), BLOCK), chains


def plainly(tokens, chains, limit, in_flight):
    """The same cache with an ordered dictionary, one block at a time."""
    cache, waiting, found = OrderedDict(), deque(), []

    def store(chain):
        for key in reversed(chain):
            cache.pop(key, None)
            cache[key] = None
        while limit and len(cache) > limit:
            cache.popitem(last=False)

    for prompt, chain in zip(tokens, chains, strict=True):
        good = 0
        while good < (len(prompt) - 1) // BLOCK and chain[good] in cache:
            good += 1
        found.append(good * BLOCK)
        store(chain[:good])
        waiting.append(chain)
        if len(waiting) > in_flight:
            store(waiting.popleft())
    return found


@settings(deadline=None)
@given(prompts, st.integers(0, 6), st.integers(0, 3))
def test_the_cache_finds_what_a_plain_one_finds(tokens, limit, in_flight):
    blocks, chains = blocks_of(tokens)
    expected = plainly(tokens, chains, limit, in_flight)
    assert reused_tokens(blocks, limit * BLOCK, in_flight).tolist() == expected


def test_the_last_token_is_always_computed():
    blocks, _ = blocks_of([[1] * 8, [1] * 8, [1] * 9])
    assert reused_tokens(blocks).tolist() == [0, 4, 8]


def test_the_tail_of_the_oldest_prompt_goes_first():
    blocks, _ = blocks_of([[1] * 9, [2] * 5, [1] * 9])
    assert reused_tokens(blocks, 2 * BLOCK).tolist() == [0, 0, 4]


def test_no_requests():
    assert reused_tokens(blocks_of([])[0], 100).tolist() == []
