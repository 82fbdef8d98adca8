"""The engine's own clock: how long it had work, and how much it did; for measuring the path to it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class EngineClock:
    """Counts requests from the moment the engine's process has them to the end of their answers.

    Args:
        now: monotonic seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self.reset()

    def reset(self) -> None:
        """Forgets all; requests under way are counted when they end."""
        self._first: float | None = None
        self._last = 0.0
        self._busy_since: float | None = None
        self._busy_s = 0.0
        self._under_way = 0
        self._requests = 0
        self._prompt_tokens = 0
        self._generated_tokens = 0

    def begin(self) -> None:
        """A request is there."""
        now = self._now()
        self._first = now if self._first is None else self._first
        if self._under_way == 0:
            self._busy_since = now
        self._under_way += 1

    def end(self, prompt_tokens: int, generated_tokens: int) -> None:
        """A request is answered, or refused (0 and 0)."""
        self._last = self._now()
        self._under_way = max(0, self._under_way - 1)
        if self._under_way == 0 and self._busy_since is not None:
            self._busy_s += self._last - self._busy_since
            self._busy_since = None
        self._requests += 1
        self._prompt_tokens += prompt_tokens
        self._generated_tokens += generated_tokens

    def read(self) -> dict[str, float]:
        """What was counted since `reset`.

        Returns:
            span_s: from the first request's arrival to the last answer's end; busy_s: the part of it with at
            least one request; requests; prompt_tokens; generated_tokens.
        """
        return {
            "span_s": self._last - self._first if self._first is not None and self._requests else 0.0,
            "busy_s": self._busy_s,
            "requests": self._requests,
            "prompt_tokens": self._prompt_tokens,
            "generated_tokens": self._generated_tokens,
        }
