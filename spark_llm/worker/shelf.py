"""Where the tasks of a query find what one of them has fitted: one claims the pilot, the others wait for it.

    claim ─┬─► a text         it is there
           ├─► MINE           nobody is at it: the caller is now, until it puts a text or gives up
           └─► None           another is at it: ask again
    put(text) ─► for all;  give_up() ─► the next one may claim

A claim ends with its task, and when its holder has been silent for ten minutes: nobody waits for
the dead, but a pilot on a CPU takes some.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from spark_llm.worker.port import Port

MINE: Final = object()
EXPIRY_S: Final = 600.0


class Shelf(Protocol):
    """The place of one query shape in one query."""

    def claim(self) -> Any:
        """Returns a text, `MINE`, or None; a holder that claims again keeps its claim."""
        ...

    def put(self, text: str) -> None:
        """Keeps a text for all; ends the claim."""
        ...

    def give_up(self) -> None:
        """Ends the claim without a text."""
        ...


class PortShelf:
    """The driver's, for all tasks of a query.

    Args:
        port: way to the driver.
        query: SQL execution id of the query.
        call: name of the query shape.
        task: Spark's task attempt id.
    """

    def __init__(self, port: Port, query: str, call: str, task: int) -> None:
        self._port, self._of = port, {"query": query, "call": call, "task": task}

    def claim(self) -> Any:
        """See `Shelf.claim`."""
        reply = self._port.call("claim", **self._of)
        return MINE if reply.get("claimed") else reply.get("text")

    def put(self, text: str) -> None:
        """See `Shelf.put`."""
        self._port.call("put", text=text, **self._of)

    def give_up(self) -> None:
        """See `Shelf.give_up`."""
        self._port.call("give_up", **self._of)


class LocalShelf:
    """This process's own, where there is no way to the driver.

    Args:
        key: of the query and its shape.
        now_s: monotonic seconds.
    """

    _lock = threading.Lock()
    _texts: dict[Any, str] = {}  # noqa: RUF012  shared by all on purpose
    _claims: dict[Any, tuple[int, float]] = {}  # noqa: RUF012

    def __init__(self, key: Any, now_s: Callable[[], float] = time.monotonic) -> None:
        self._key, self._now_s = key, now_s

    def claim(self) -> Any:
        """See `Shelf.claim`."""
        with self._lock:
            if (text := self._texts.get(self._key)) is not None:
                return text
            holder, since = self._claims.get(self._key, (id(self), 0.0))
            if holder != id(self) and self._now_s() - since < EXPIRY_S:
                return None
            self._claims[self._key] = id(self), self._now_s()
            return MINE

    def put(self, text: str) -> None:
        """See `Shelf.put`."""
        with self._lock:
            self._texts[self._key] = text
            self._claims.pop(self._key, None)

    def give_up(self) -> None:
        """See `Shelf.give_up`."""
        with self._lock:
            if self._claims.get(self._key, (0, 0.0))[0] == id(self):
                del self._claims[self._key]
