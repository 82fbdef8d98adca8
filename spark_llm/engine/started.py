"""An engine started by this process, for as long as a block lasts."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from spark_llm.engine.state import read_state
from spark_llm.errors import engine_failed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_FINAL = frozenset({"ready", "failed", "stopped"})
_STOP_TIMEOUT_S = 30


@contextmanager
def started_engine(settings: Mapping[str, str]) -> Iterator[str]:
    """Starts the engine's supervisor, as an executor would, and ends it with the block.

    Args:
        settings: spark.llm.* entries as text.

    Yields:
        The path of the engine's Unix socket, once it answers.

    Raises:
        SparkLLMError: what kept the engine from starting.
    """
    with (
        tempfile.TemporaryDirectory(prefix="spark-llm-") as folder,
        subprocess.Popen(
            [sys.executable, "-m", "spark_llm.engine.server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as server,
    ):
        if server.stdin is None or server.stdout is None:
            raise engine_failed("its supervisor has no pipes")
        try:
            server.stdin.write(json.dumps({"dir": folder, "conf": dict(settings)}) + "\n")
            server.stdin.flush()
            for line in server.stdout:
                if line.startswith("{") and json.loads(line).get("state") in _FINAL:
                    break
            state = read_state(Path(folder) / "state.json")
            if state is None or state.state != "ready":
                raise engine_failed("its supervisor ended") if state is None else state.error()
            yield state.socket
        finally:
            # The supervisor ends, and its engine with it, when its standard input does.
            server.stdin.close()
            server.stdout.close()
            server.wait(timeout=_STOP_TIMEOUT_S)
