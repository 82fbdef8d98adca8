"""What the clients over HTTP share: submissions run on the process's event loop and end with the client."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from spark_llm.engine import background

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future

    import httpx

    from spark_llm.engine.types import EngineAnswer, EngineRequest, Sampling


class HttpClient(ABC):
    """An `EngineClient` that answers with a coroutine; subclasses open httpx at their first request."""

    def __init__(self) -> None:
        self._http: httpx.AsyncClient | None = None
        self._tasks: set[Future[list[EngineAnswer]]] = set()

    def submit(self, requests: Sequence[EngineRequest], sampling: Sampling) -> Future[list[EngineAnswer]]:
        """Starts answering `requests`; see `EngineClient.submit`."""
        task = background.start(self._answer(list(requests), sampling))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def close(self) -> None:
        """Drops what is unfinished: the server sees its clients disconnect and stops generating for them."""
        for task in list(self._tasks):
            task.cancel()
        if self._http is not None:
            background.start(self._http.aclose())
            self._http = None

    @abstractmethod
    async def _answer(self, requests: list[EngineRequest], sampling: Sampling) -> list[EngineAnswer]:
        """One answer per request, in order."""
