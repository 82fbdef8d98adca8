"""Draws for a JVM without a Python driver: `python -m spark_llm.progress`, a snapshot per line of stdin."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from spark_llm.progress.follow import KEY, painter_of
from spark_llm.progress.screen import Screen

if TYPE_CHECKING:
    from spark_llm.progress.model import QueryState
    from spark_llm.progress.paint import Painter


def _painter(query: QueryState) -> Painter | None:
    # The JVM starts this where auto means yes.
    return None if query.conf.get(KEY, "auto").strip().lower() == "false" else painter_of(query)


def main() -> int:
    """Reads to the end of stdin."""
    screen = Screen(_painter)
    for line in sys.stdin:
        screen.show(json.loads(line))
    return 0


if __name__ == "__main__":
    sys.exit(main())
