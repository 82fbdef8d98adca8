"""What the supervisor tells about the engine: state.json for the workers, a line per change for the JVM."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import IO, Literal

from spark_llm.errors import SparkLLMError, conditions, engine_failed

Phase = Literal["starting", "ready", "restarting", "failed", "stopped"]


@dataclass(frozen=True, slots=True)
class EngineState:
    """One state of the engine.

    Attributes:
        state: starting and restarting are to be waited for; failed and stopped are final.
        socket: path of the Unix socket.
        log: path of the engine's log.
        model: the name the engine serves its model under.
        pid: process id of the engine, None when it does not run.
        condition: of the failure, when failed; params are its parameters and message its text.
        starts: how many times an engine was started, the running one included.
    """

    state: Phase
    socket: str
    log: str
    model: str
    pid: int | None = None
    condition: str | None = None
    message: str | None = None
    params: dict[str, str] = field(default_factory=dict)
    starts: int = 0

    def line(self) -> str:
        """The state as one line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)

    def error(self) -> SparkLLMError:
        """The failure that a final state stands for."""
        if self.condition in conditions():
            return SparkLLMError(str(self.condition), self.params)
        return engine_failed(self.message or f"the engine is {self.state}", self.log)


def publish(state: EngineState, path: Path, stream: IO[str]) -> None:
    """Writes `state` to `path`, in one step for readers, and to `stream`, which may have lost its reader.

    On a full disk there is no file: readers then ask the engine itself, which goes on.
    """
    # Mode 0600 from the start: the folder is private, but a message may quote the log.
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(state.line() + "\n")
        temporary.replace(path)
    except OSError:
        # The former state would be a lie for as long as the disk is full.
        for left in (temporary, path):
            with contextlib.suppress(OSError):
                left.unlink()
    try:
        stream.write(state.line() + "\n")
        stream.flush()
    except OSError:
        pass  # The JVM is gone; end of file on stdin tells so as well, and acts.


def read_state(path: Path) -> EngineState | None:
    """The state in `path`; None before the first one was written."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    known = {entry.name for entry in fields(EngineState)}
    return EngineState(**{name: value for name, value in entries.items() if name in known})
