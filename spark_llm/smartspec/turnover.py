"""How many prompt tokens follow each answer token: what finishing rows sooner brings with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from spark_llm.smartspec.policy import Ints, Step, StepResult

_START_ANSWER_TOKENS: Final = 16.0
_START_ROWS: Final = 4.0
_MEMORY_ROWS: Final = 1000.0


class Turnover:
    """Mean prompt tokens (those computed) and answer tokens of a row.

    Answers are counted over rows that have not finished too: generated tokens over finished rows, which does
    not take the short ones, that finish first, for all. The newest thousand rows or so count.
    """

    def __init__(self) -> None:
        self._prompt_tokens = self._started = 0.0
        self._answer_tokens = _START_ANSWER_TOKENS * _START_ROWS
        self._finished = _START_ROWS
        self._seen = np.zeros(0, np.bool_)

    @property
    def answer_tokens(self) -> float:
        """Mean of a row."""
        return self._answer_tokens / self._finished

    def prompt_tokens(self, step: Step) -> float:
        """Mean of a row; of the waiting ones where none has started yet."""
        if self._started:
            return self._prompt_tokens / self._started
        return step.prefill_tokens / step.prefill_rows if step.prefill_rows else 0.0

    def observe(self, result: StepResult) -> None:
        """Counts a step."""
        slots = result.slots
        self._prompt_tokens += result.prefill_tokens
        if not len(slots):
            return
        self._reserve(slots)
        self._started += len(slots) - int(np.count_nonzero(self._seen[slots]))
        self._seen[slots] = True
        self._answer_tokens += len(slots) + int(result.accepted.sum())

    def release(self, slots: Ints) -> None:
        """Counts rows that finished."""
        self._reserve(slots)
        self._finished += int(np.count_nonzero(self._seen[slots]))
        self._seen[slots] = False
        if self._finished > _MEMORY_ROWS:
            self._finished, self._answer_tokens = self._finished / 2, self._answer_tokens / 2
            self._started, self._prompt_tokens = self._started / 2, self._prompt_tokens / 2

    def _reserve(self, slots: Ints) -> None:
        need = int(slots.max()) + 1 if len(slots) else 0
        if need > len(self._seen):
            more = max(need, 2 * len(self._seen), 64) - len(self._seen)
            self._seen = np.concatenate((self._seen, np.zeros(more, np.bool_)))
