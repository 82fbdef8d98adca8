"""One event loop on one thread per worker process, shared by all clients of the process."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from concurrent.futures import Future

_T = TypeVar("_T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_owner = 0


def loop() -> asyncio.AbstractEventLoop:
    """The process's loop, running; started at the first call.

    Spark forks its Python workers: a child inherits the loop but no thread that runs it, hence the pid.
    """
    global _loop, _owner
    with _lock:
        if _loop is None or _owner != os.getpid():
            _loop, _owner = asyncio.new_event_loop(), os.getpid()
            threading.Thread(target=_loop.run_forever, name="spark-llm-client", daemon=True).start()
        return _loop


def start(coroutine: Coroutine[Any, Any, _T]) -> Future[_T]:
    """Runs `coroutine` on the process's loop."""
    return asyncio.run_coroutine_threadsafe(coroutine, loop())


def _reset() -> None:
    # A fork while another thread held the lock must not leave it locked for ever in the child.
    global _lock, _loop
    _lock, _loop = threading.Lock(), None


os.register_at_fork(after_in_child=_reset)
