"""The fake engine's prefix cache: blocks of prompt text, found by the hash of all text up to their end.

It counts as vLLM does (`vllm.v1.core.block_pool.BlockPool`): only full blocks are kept; a prompt finds the
leading blocks that are there, up to the first that is not; its last token is always computed; the blocks
least recently used are dropped first, a prompt's last block before its first one.

Two things differ. Blocks of prompts that are being answered are not held, since a fake answer takes no time.
And with a lag, blocks can be found only after that many further requests: an engine that does not share what
it is still computing, with that many requests in flight.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

CHARS_PER_TOKEN: Final = 4
BLOCK_TOKENS: Final = 32
_BLOCK_CHARS: Final = BLOCK_TOKENS * CHARS_PER_TOKEN


class PrefixCache:
    """Least-recently-used cache of prompt blocks.

    Args:
        capacity_tokens: what it holds, rounded down to whole blocks.
        lag: requests that must come between a prompt and one that finds its blocks.
    """

    def __init__(self, capacity_tokens: int = 40_000, lag: int = 0) -> None:
        self._capacity = capacity_tokens // BLOCK_TOKENS
        self._lag = lag
        self._requests = 0
        # Hash of the text up to a block's end -> number of the request that wrote it, oldest use first.
        self._blocks: OrderedDict[int, int] = OrderedDict()

    def cached_tokens(self, prompt: str) -> int:
        """Returns how many tokens of `prompt` are found, and keeps its blocks."""
        self._requests += 1
        number, newest, blocks = self._requests, self._requests - 1 - self._lag, self._blocks
        key, found, searching, keys = 0, 0, True, []
        # Rounded up, as a token begins with its first character; the last one is never looked up.
        findable = ((len(prompt) + CHARS_PER_TOKEN - 1) // CHARS_PER_TOKEN - 1) // BLOCK_TOKENS
        for start in range(0, len(prompt) - _BLOCK_CHARS + 1, _BLOCK_CHARS):
            key = hash((key, prompt[start : start + _BLOCK_CHARS]))
            keys.append(key)
            written = blocks.setdefault(key, number)
            if searching and written <= newest and len(keys) <= findable:
                found += 1
            else:
                searching = False
        for key in reversed(keys):
            blocks.move_to_end(key)
        while len(blocks) > self._capacity:
            blocks.popitem(last=False)
        return found * BLOCK_TOKENS
