"""Run by the doctor as a process of its own: starts the engine's supervisor, waits for it, ends it.

The order comes on standard input, as an executor sends it; the state that ended the wait goes to standard
output.
"""

from __future__ import annotations

import json
import subprocess
import sys

FINAL_STATES = frozenset({"ready", "failed", "stopped"})
STOP_TIMEOUT_S = 30


def main() -> int:
    """Passes the order on and prints the first final state."""
    order = sys.stdin.read().strip()
    with subprocess.Popen(
        [sys.executable, "-m", "spark_llm.engine.server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        if server.stdin is None or server.stdout is None:
            return 1
        server.stdin.write(order + "\n")
        server.stdin.flush()
        for line in server.stdout:
            if line.startswith("{") and json.loads(line).get("state") in FINAL_STATES:
                print(line.strip(), flush=True)
                break
        # The supervisor ends, and its engine with it, when its standard input does.
        server.stdin.close()
        server.wait(timeout=STOP_TIMEOUT_S)
    return 0


if __name__ == "__main__":
    sys.exit(main())
