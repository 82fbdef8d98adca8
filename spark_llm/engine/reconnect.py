"""Waiting for an engine that does not answer: is it coming back, and for how long is that believable?"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

from spark_llm.engine.answers import clip
from spark_llm.engine.state import EngineState, read_state
from spark_llm.errors import engine_failed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

# A state of "ready" at a dead socket is a supervisor that has not noticed yet, or one that is gone as well.
STALE_READY_S = 30.0
_POLL_S = 0.1


class Reconnect:
    """Decides, after a request failed for want of an engine, whether to send it again.

    Args:
        socket: path of the engine's socket, for messages.
        state_path: path of state.json; None when nobody supervises the engine (a test's server, say).
        start_timeout_s: how long an engine may be starting.
        probe: True when the engine answers.
        clock, sleep: injectable for tests.
    """

    def __init__(
        self,
        socket: str,
        state_path: str | None,
        start_timeout_s: float,
        probe: Callable[[], Awaitable[bool]],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._socket = socket
        self._state_path = None if state_path is None else Path(state_path)
        self._start_timeout_s = start_timeout_s
        self._probe = probe
        self._clock = clock
        self._sleep = sleep

    async def until_ready(self, cause: BaseException) -> None:
        """Returns when the engine answers again.

        Raises:
            SparkLLMError: what made the engine fail for good; LLM_ENGINE_FAILED when it is late.
        """
        began = ready_since = self._clock()
        while True:
            state = None if self._state_path is None else read_state(self._state_path)
            if state is not None and state.state in {"failed", "stopped"}:
                raise state.error() from cause
            if (state is None or state.state == "ready") and await self._probe():
                return
            now = self._clock()
            if state is None or state.state != "ready":
                ready_since = now
            if now - ready_since > STALE_READY_S or now - began > self._start_timeout_s:
                raise engine_failed(
                    self._gave_up(state, now - began, cause), state.log if state else "(none)"
                )
            await self._sleep(_POLL_S)

    def log(self) -> str:
        """Path of the engine's log, for messages."""
        state = None if self._state_path is None else read_state(self._state_path)
        return "(none)" if state is None else state.log

    def _gave_up(self, state: EngineState | None, waited_s: float, cause: BaseException) -> str:
        known = "unknown" if state is None else state.state
        reason = clip(str(cause) or type(cause).__name__, 200)
        return f"nothing answers at {self._socket} after {waited_s:.0f} s; its state is {known} ({reason})"
