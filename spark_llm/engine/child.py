"""First steps of the engine's process: tie its life to the supervisor's, then become vLLM.

`python -m spark_llm.engine.child SUPERVISOR_PID COMMAND…`; stdin is a pipe only the supervisor holds open.

    supervisor ──spawn──► this, leader of its own session ──exec──► COMMAND (vLLM's API server ─► EngineCore)
         │                      │ fork
         └── pipe ────────► watchdog: end of file, so the supervisor is gone ─► SIGKILL to the whole group

The kernel kills the leader with the supervisor (PR_SET_PDEATHSIG), but not what vLLM started, which does not
notice the death of its parent: hence the watchdog.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15


def main(arguments: list[str]) -> None:
    """Never returns: becomes the command, or exits because the supervisor died first."""
    supervisor, command = int(arguments[0]), arguments[1:]
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor:
        os._exit(1)
    if os.fork() == 0:
        libc.prctl(_PR_SET_NAME, b"spark-llm-guard")
        _watch()
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.execvp(command[0], command)  # noqa: S606  becoming another program is the purpose


def _watch() -> None:
    """Waits for the end of the pipe, deaf to polite signals to the group, and then ends the group."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(0, 64):
        pass
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1:])
