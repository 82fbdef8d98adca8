"""The worker's way to the driver: a Unix socket of its executor's JVM, a JSON line for a JSON line.

port.call("lease", …) ──► WorkerPort (executor JVM) ──► RpcEndpoint "spark-llm" (driver)
                      ◄── reply                     ◄── CoordinatorState
"""

from __future__ import annotations

import json
import os
import socket
import threading
from typing import TYPE_CHECKING, Any, Final

from spark_llm.errors import engine_failed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from io import BufferedRWPair

PORT: Final = "SPARK_LLM_PORT"


class Port:
    """One connection, opened by the first call; calls from several threads take turns.

    A forked process opens a connection of its own, since replies on a shared one would go astray.

    Args:
        path: of the socket.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._owner = 0
        self._lines: BufferedRWPair | None = None

    @classmethod
    def open(cls, environ: Mapping[str, str]) -> Port | None:
        """Returns the port of this executor, None where the query needs none."""
        path = environ.get(PORT)
        return None if not path else cls(path)

    def call(self, op: str, **fields: Any) -> dict[str, Any]:
        """Returns the driver's reply.

        Args:
            op: lease, settle or pace; see CoordinatorState.scala.
            fields: what goes with it, as JSON can say it.

        Raises:
            SparkLLMError: LLM_ENGINE_FAILED when nobody answers, or the driver refuses.
        """
        if self._owner not in {0, os.getpid()}:
            self._lock, self._lines, self._owner = threading.Lock(), None, 0
        line = json.dumps({"op": op, **fields}).encode() + b"\n"
        with self._lock:
            try:
                reply = self._exchange(line)
            except OSError as error:
                self._lines = None
                raise engine_failed(f"the executor does not answer at its port: {error}") from error
        answer: dict[str, Any] = json.loads(reply)
        if "error" in answer:
            raise engine_failed(f"the driver refused '{op}': {answer['error']}")
        return answer

    def _exchange(self, line: bytes) -> bytes:
        lines = self._lines or self._connect()
        lines.write(line)
        lines.flush()
        reply = lines.readline()
        if not reply.endswith(b"\n"):
            raise ConnectionError("it hung up")
        return reply

    def _connect(self) -> BufferedRWPair:
        with socket.socket(socket.AF_UNIX) as connection:  # the file keeps it open
            connection.connect(self._path)
            self._lines, self._owner = connection.makefile("rwb"), os.getpid()
        return self._lines
