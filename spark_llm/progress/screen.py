"""Snapshots to painters: one painter per query, chosen once; queries over in a moment are not drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from spark_llm.progress.model import Model

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from spark_llm.progress.model import QueryState
    from spark_llm.progress.paint import Painter

# Shorter queries are over before anybody wonders.
QUIET_S: Final = 1.0


class Screen:
    """Draws the queries of an application.

    Args:
        painter: makes the painter of a query; None for a query that is not to be drawn.
    """

    def __init__(self, painter: Callable[[QueryState], Painter | None]) -> None:
        self._painter = painter
        self._model = Model()
        self._painters: dict[int, Painter | None] = {}

    def show(self, snapshot: Mapping[str, Any]) -> bool:
        """Draws a snapshot; returns whether a query runs."""
        running = False
        for query in self._model.update(snapshot):
            running = running or not query.ended
            if query.number not in self._painters and not query.ended and query.elapsed_s >= QUIET_S:
                self._painters[query.number] = self._painter(query)
            # a query that was over before it was drawn once leaves no line either
            painter = self._painters.get(query.number)
            if query.ended:
                self._painters.pop(query.number, None)
                if painter is not None:
                    painter.end(query)
            elif painter is not None:
                painter.draw(query)
        return running

    def drop(self) -> None:
        """Forgets all queries: the application is another one."""
        self._painters.clear()
