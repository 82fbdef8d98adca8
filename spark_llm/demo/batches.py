"""From examples to batches: tokens, targets, and as little padding as possible.

Every prompt opens with the same system message, so its tokens are not repeated in the
batch: the trainer runs them once per step and lets all rows attend to them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from spark_llm.demo.example import Example
from spark_llm.demo.generate import SYSTEM_PROMPT, examples
from spark_llm.demo.tokenizer import END, END_THINK, START, THINK

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PREFIX: Final = f"{START}system\n{SYSTEM_PROMPT}{END}\n{START}user\n"
PROMPT_SHARE: Final = 0.1
"""Share of the prompt's tokens that are scored: most of them are noise."""
_POOL: Final = 6000


_Row = tuple[list[int], int]
"""Tokens of an example, and the index of the first one that is predicted."""


@dataclass(frozen=True)
class Batch:
    """Examples of about equal length, without the common prefix.

    Attributes:
        tokens: ``[rows, length]`` int64, padded on the right.
        answers: ``[rows, length]`` bool, true where the token is thinking, answer or
            end of turn: what the model has to predict when serving.
        sampled: ``[rows, length]`` bool, a sample of the prompt's tokens, which are
            scored a little as well.
    """

    tokens: NDArray[np.int64]
    answers: NDArray[np.bool_]
    sampled: NDArray[np.bool_]


def written(example: Example) -> str:
    """Return the text of an example that follows :data:`PREFIX`, up to end of turn."""
    thinking = example.thinking if example.think else ""
    return f"{example.user}{END}\n{START}assistant\n{THINK}{thinking}{END_THINK}{example.answer}{END}"


def _collate(rows: list[_Row], pad: int, noise: np.random.Generator) -> Batch:
    """Stack encoded rows; ``noise`` decides which prompt tokens are scored."""
    shape = (len(rows), max(len(tokens) for tokens, _ in rows))
    tokens_out = np.full(shape, pad, dtype=np.int64)
    answers = np.zeros(shape, dtype=np.bool_)
    real = np.zeros(shape, dtype=np.bool_)
    for index, (tokens, first) in enumerate(rows):
        tokens_out[index, : len(tokens)] = tokens
        answers[index, first : len(tokens)] = True
        real[index, : len(tokens)] = True
    sampled = real & ~answers & (noise.random(shape) < PROMPT_SHARE)
    return Batch(tokens_out, answers, sampled)


def batches(tokenizer: PreTrainedTokenizerFast, seed: int, budget: int, short_for: int) -> Iterator[Batch]:
    """Yield the endless stream of training batches.

    Args:
        tokenizer: The demo tokenizer.
        seed: Seed of the examples and of the order of the batches.
        budget: Most tokens in a batch, padding included.
        short_for: Number of examples during which the longest allowed row grows from
            40 to 160 tokens: looking things up is learned first where rows are short.

    Yields:
        Batches of similar lengths, in random order.
    """
    rng, noise = Random(seed + 1), np.random.default_rng(seed)
    stream = examples(seed)
    think = tokenizer.convert_tokens_to_ids(THINK)
    end_think = tokenizer.convert_tokens_to_ids(END_THINK)
    pad = int(tokenizer.pad_token_id)
    drawn = 0
    while True:
        pool = list(islice(stream, _POOL))
        limit = 40 + 120 * min(1.0, drawn / max(1, short_for))
        drawn += len(pool)
        encoded = tokenizer([written(e) for e in pool], add_special_tokens=False)["input_ids"]
        rows: list[_Row] = []
        for example, tokens in zip(pool, encoded, strict=True):
            if len(tokens) <= limit:
                first = tokens.index(think if example.think else end_think) + 1
                rows.append((tokens, first))
        rows.sort(key=lambda row: len(row[0]))
        groups: list[list[_Row]] = [[]]
        for row in rows:
            if (len(groups[-1]) + 1) * len(row[0]) > budget:
                groups.append([])
            groups[-1].append(row)
        rng.shuffle(groups)
        for group in groups:
            if group:
                yield _collate(group, pad, noise)
