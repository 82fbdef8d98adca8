"""A grammar for tests, with the names of vLLM's."""

import numpy as np


class SetGrammar:
    """Allows one set of tokens after another."""

    def __init__(self, *allowed):
        self.allowed, self.at = allowed, 0

    def accept_tokens(self, request_id, tokens):
        assert self.validate_tokens(tokens) == tokens
        self.at += len(tokens)
        return True

    def validate_tokens(self, tokens):
        fit = [token in allowed for token, allowed in zip(tokens, self.allowed[self.at :], strict=False)]
        return tokens[: (*fit, False).index(False)]

    def rollback(self, num_tokens):
        self.at -= num_tokens

    def fill_bitmask(self, bitmask, batch_index):
        words = bitmask[batch_index].view(np.uint32)
        words.fill(0)
        for token in self.allowed[self.at]:
            words[token // 32] |= np.uint32(1 << token % 32)

    def is_terminated(self):
        return self.at == len(self.allowed)
