"""Lengths of the prompts that a table would make: the histogram of `spark-llm memory --rows`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spark_llm.analyze.blocks import level_tokens
from spark_llm.analyze.cells import cut_into_cells, head_text
from spark_llm.analyze.orders import as_written
from spark_llm.jenga.waste import Length

if TYPE_CHECKING:
    from spark_llm.analyze.read import Source
    from spark_llm.analyze.tokenizer import Tokenizer


def lengths_of(source: Source, instruction: str, answer_tokens: int, tokenizer: Tokenizer) -> list[Length]:
    """Returns how many requests have each length, ascending.

    Args:
        source: the table; each row makes a prompt of all its fields.
        instruction: what is asked.
        answer_tokens: tokens that are generated for every prompt.
        tokenizer: counts the tokens.
    """
    counts: dict[int, int] = {}
    for table in source.chunks():
        cells = cut_into_cells(table, tokenizer, head_text(instruction))
        tokens = level_tokens(cells, as_written(table.num_rows, len(cells.fields))).sum(axis=1)
        prompts, rows = np.unique(tokens + cells.head_tokens + cells.tail_tokens, return_counts=True)
        for prompt, count in zip(prompts.tolist(), rows.tolist(), strict=True):
            counts[prompt] = counts.get(prompt, 0) + count
    return [Length(prompt + answer_tokens, requests=counts[prompt]) for prompt in sorted(counts)]
