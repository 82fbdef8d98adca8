"""Whether an engine that says it is well also works: how long it had requests and took no step."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Progress:
    """The last step of an engine, as one of vLLM's stat loggers: `record` is called for each step of it.

    Args:
        now: monotonic seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._moved = now()

    def record(self, *_stats: Any, **_more: Any) -> None:
        """The engine took a step; what it did is of no interest here."""
        self._moved = self._now()

    def stalled_s(self, requests: int) -> float:
        """Seconds without a step, as far as there was work.

        Args:
            requests: unfinished ones. An engine without any is not stalled, and starts anew from here: this
                must be asked every now and then.
        """
        if not requests:
            self._moved = self._now()
        return self._now() - self._moved

    def log_engine_initialized(self) -> None:
        """Nothing to say."""

    def log(self) -> None:
        """Nothing to say."""

    def record_sleep_state(self, *_state: Any) -> None:
        """Nothing to say."""

    def __getattr__(self, name: str) -> Any:
        """Other events of a stat logger, in whatever version of vLLM."""
        if name.startswith("record_"):
            return self.record_sleep_state
        raise AttributeError(name)
