"""Drafts from the answer's grammar (jump ahead): what it leaves no choice about.

grammar state ─► next-token bitmask ─── one bit set ──► a forced token: acceptance 1, for certain
              └► jump-forward string ── tokenised ────► jump tokens: the text is certain, how the model would
                                                        cut it into tokens is not

A vocabulary holds `n`, `na` and `name`, so that the bitmask seldom has one bit: at the end of an answer and
in the rest of a word. The text between two values is nearly always one jump-forward string.

Source: jump-forward decoding of SGLang (arXiv 2312.07104). Differs from the paper: the string is drafted and
verified, not written into the answer, so that the answer stays the one that the model gives without it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np


class Grammar(Protocol):
    """Part of vLLM's StructuredOutputGrammar, which `request.structured_output_request.grammar` holds.

    Of vLLM's backends xgrammar alone fills a NumPy bitmask and knows the jump-forward string; see `readable`.
    """

    def accept_tokens(self, request_id: str, tokens: list[int]) -> bool:
        """Advances; the request's name is for the log only."""

    def validate_tokens(self, tokens: list[int]) -> list[int]:
        """The leading tokens that fit; does not advance."""

    def rollback(self, num_tokens: int) -> None:
        """Takes back the last accepted tokens."""

    def fill_bitmask(self, bitmask: Any, batch_index: int) -> None:
        """Writes the tokens that fit next into row `batch_index` of an int32 array, 32 a word."""

    def is_terminated(self) -> bool:
        """True after the answer's end token."""


def readable(grammar: object) -> bool:
    """True for xgrammar's grammars; rows of other backends are drafted for as if they had none."""
    return _matcher(grammar) is not None


class ForcedDrafter:
    """Reads forced and jump tokens off any row's grammar; keeps no state of rows."""

    def __init__(
        self, vocabulary_tokens: int, tokenize: Callable[[str], Sequence[int]] | None = None
    ) -> None:
        """Allocates one row of bitmask.

        Args:
            vocabulary_tokens: size of the model's vocabulary, padding included.
            tokenize: text to ids without special tokens; None leaves jump tokens out.
        """
        self._bitmask = np.zeros((1, (vocabulary_tokens + 31) // 32), np.int32)
        self._tokenize = lru_cache(maxsize=4096)(lambda text: tuple(tokenize(text)) if tokenize else ())

    def forced_token(self, grammar: Grammar) -> int | None:
        """The only token that fits next, or None where several do or the answer has ended."""
        if grammar.is_terminated():
            return None
        matcher = _matcher(grammar)
        if matcher is not None and not matcher.is_completed() and not matcher.find_jump_forward_string():
            # Not even one byte is certain: a tenth of the time that a bitmask of 150,000 tokens takes.
            return None
        words = self._bitmask[0]
        words.fill(-1)  # a backend may leave a row alone that allows everything
        grammar.fill_bitmask(self._bitmask, 0)
        if np.count_nonzero(words) != 1:
            return None
        place = int(np.flatnonzero(words)[0])
        word = int(words[place]) & 0xFFFFFFFF
        return place * 32 + word.bit_length() - 1 if word.bit_count() == 1 else None

    def forced(self, grammar: Grammar, k: int) -> list[int]:
        """Up to `k` tokens, each the only one that fits; the grammar is advanced past them."""
        tokens: list[int] = []
        while len(tokens) < k and (token := self.forced_token(grammar)) is not None:
            grammar.accept_tokens("draft", [token])
            tokens.append(token)
        return tokens

    def jump(self, grammar: Grammar, k: int) -> list[int]:
        """Up to `k` tokens of the text that must come next, cut as the tokenizer cuts it; does not advance.

        Empty for backends that cannot tell that text: only xgrammar's matcher can.
        """
        matcher = _matcher(grammar)
        if matcher is None or grammar.is_terminated():
            return []
        text = matcher.find_jump_forward_string()
        return grammar.validate_tokens(list(self._tokenize(text)[:k])) if text else []


def _matcher(grammar: object) -> Any:
    """The xgrammar matcher inside, or None for other backends."""
    matcher = getattr(grammar, "matcher", None)
    return matcher if hasattr(matcher, "find_jump_forward_string") else None
