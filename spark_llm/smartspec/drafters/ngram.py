"""Drafts from the row's own prompt and answer: what followed the same few tokens before (prompt lookup).

prompt ─ once, at the first draft ─► per n: sorted n-gram keys and where each occurred last
answer ─ token by token ───────────► per n: dict of n-gram key -> where it occurred last
                                       │ the longest n that occurred, in the answer before the prompt
                                       ▼
                        the tokens that followed there, copied on past the end where they overlap it

The most recent match is taken and not the first (vLLM's choice): a prompt ends with the row's own fields, its
instruction and examples come first and are about other values.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

_BASE: Final = 0x9E3779B97F4A7C15  # odd, so that no power of it loses bits
_MASK: Final = (1 << 64) - 1


class NgramDrafter:
    """One row's n-gram index; a draft costs O(max_n log prompt + k), whatever came before."""

    def __init__(
        self, prompt_ids: Sequence[int], min_n: int = 1, max_n: int = 4, window_tokens: int = 16_384
    ) -> None:
        """Keeps the prompt; nothing is indexed before the first draft.

        Args:
            prompt_ids: the row's prompt.
            min_n: shortest match that is drafted from.
            max_n: longest match that is looked for.
            window_tokens: only the last so many tokens of the prompt are looked at.

        Raises:
            ValueError: unless 1 <= min_n <= max_n.
        """
        if not 1 <= min_n <= max_n:
            raise ValueError(f"min_n is {min_n} and max_n {max_n}; allowed: 1 <= min_n <= max_n")
        self.min_n, self.max_n = min_n, max_n
        self._ids = list(prompt_ids[-window_tokens:])
        self._prompt_tokens = len(self._ids)
        self._powers = [pow(_BASE, place, 1 << 64) for place in range(max_n)]
        self._tables: list[tuple[array[int], array[int]]] | None = None
        self._recent: list[dict[int, int]] = [{} for _ in range(max_n + 1)]
        self._indexed = self._prompt_tokens  # n-grams that end here or before are in the index

    def extend(self, ids: Iterable[int]) -> None:
        """Appends tokens of the answer."""
        self._ids.extend(ids)

    def draft(self, k: int) -> tuple[list[int], int]:
        """Up to `k` tokens that may come next and the length n of the match; ([], 0) where nothing matches."""
        if self._tables is None:
            self._tables = self._index_prompt()
        self._index_answer()
        ids, size, key = self._ids, len(self._ids), 0
        match, length = 0, 0
        # What does not occur with n tokens does not with more: most rows are done after two or three.
        for n in range(1, min(self.max_n, size) + 1):
            key = (key + (ids[size - n] + 1) * self._powers[n - 1]) & _MASK
            if n < self.min_n:
                continue
            end = self._recent[n].get(key)
            if end is None:
                found, ends = self._tables[n - 1]
                place = bisect_left(found, key)
                if place == len(found) or found[place] != key:
                    break
                end = ends[place]
            if ids[end - n : end] != ids[size - n :]:  # two n-grams may share a key
                break
            match, length = end, n
        return (self._copy(match, k), length) if length else ([], 0)

    def _copy(self, end: int, k: int) -> list[int]:
        draft = self._ids[end : end + k]
        # A match that overlaps the end is a repetition, which goes on.
        period = len(self._ids) - end
        while len(draft) < k:
            draft.append(draft[len(draft) - period])
        return draft

    def _keys(self, end: int) -> list[int]:
        """Keys of the n-grams that end before place `end`, n from 1 on."""
        keys, key = [], 0
        for place, power in zip(
            range(end - 1, max(end - 1 - self.max_n, -1), -1), self._powers, strict=False
        ):
            key = (key + (self._ids[place] + 1) * power) & _MASK
            keys.append(key)
        return keys

    def _index_prompt(self) -> list[tuple[array[int], array[int]]]:
        # The n-gram at the very end of prompt and answer is looked up, never found: it is left to the answer.
        size = self._prompt_tokens - 1
        tokens = np.asarray(self._ids[: max(size, 0)], np.uint64) + np.uint64(1)
        keys, tables = np.zeros(len(tokens), np.uint64), []
        for n, power in enumerate(self._powers, 1):
            keys = keys[1:] if n > 1 else keys
            keys = keys + tokens[: len(keys)] * np.uint64(power)
            # Of the reversed keys the first ones, which are the most recent.
            found, first = np.unique(keys[::-1], return_index=True)
            tables.append(
                (array("Q", found.tobytes()), array("q", (size - first).astype(np.int64).tobytes()))
            )
        return tables

    def _index_answer(self) -> None:
        for end in range(self._indexed, len(self._ids)):
            for n, key in enumerate(self._keys(end), 1):
                self._recent[n][key] = end
        self._indexed = max(self._indexed, len(self._ids))
