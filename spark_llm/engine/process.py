"""The engine's processes as the supervisor handles them: one group, one log, nothing left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_POLL_S = 0.05
_DEAD_STATES = "ZX"


class EngineProcess:
    """A started engine: the leader of its own process group, whose output goes to one log.

    Must be created on the thread that lives as long as the supervisor: the kernel ends the engine with the
    *thread* that started it.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], log: Path, folder: Path
    ) -> None:
        reader, self._lifeline = os.pipe()
        try:
            with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb") as output:  # noqa: PTH123
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "spark_llm.engine.child", str(os.getpid()), *command],
                    stdin=reader,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=dict(environment),
                    cwd=folder,
                    start_new_session=True,
                )
        finally:
            os.close(reader)
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """The exit status, None while it runs; minus the signal's number when a signal ended it."""
        return self._process.poll()

    def stop(self, grace_s: float) -> None:
        """Ends the whole group: politely, after `grace_s` seconds with SIGKILL. Returns when it is gone."""
        _signal_group(self.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(grace_s)
        _signal_group(self.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._lifeline)
        wait_gone(self.pid)


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def wait_gone(group: int, timeout_s: float = 5.0) -> bool:
    """Waits until no live process is in `group`; False when some still are."""
    end = time.monotonic() + timeout_s
    while members(group):
        if time.monotonic() > end:
            return False
        time.sleep(_POLL_S)
    return True


def members(group: int) -> list[int]:
    """Ids of the live processes of a process group."""
    return [pid for pid in _processes() if _group_of(pid) == group]


def kill_leftovers(log: Path) -> list[int]:
    """Kills the processes whose output goes to `log`: an engine that outlived its supervisor.

    The log is what they have for certain: vLLM renames its processes, and process ids are used again.

    Returns:
        The ids of the killed processes.
    """
    target = os.path.realpath(log)
    found = [pid for pid in _processes() if pid != os.getpid() and _writes_to(pid, target)]
    for pid in found:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 5.0
    while any(_group_of(pid) is not None for pid in found) and time.monotonic() < end:
        time.sleep(_POLL_S)
    return found


def tail(log: Path, lines: int = 20, longest: int = 4000, since_bytes: int = 0) -> str:
    """The last lines of a log from byte `since_bytes` on, `longest` characters at most; empty if none."""
    try:
        with log.open("rb") as file:
            file.seek(max(since_bytes, log.stat().st_size - 4 * longest))
            text = file.read(4 * longest).decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])[-longest:]


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _group_of(pid: int) -> int | None:
    """The process group of a live process; None when it is dead, or waits to be collected."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The second field, the name in parentheses, may hold anything; state, parent and group follow it.
    state, _parent, group = stat.rpartition(")")[2].split()[:3]
    return None if state in _DEAD_STATES else int(group)


def _writes_to(pid: int, target: str) -> bool:
    for number in (1, 2):
        with contextlib.suppress(OSError):
            if str(Path(f"/proc/{pid}/fd/{number}").readlink()) == target:
                return True
    return False
