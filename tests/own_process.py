"""A script of engines in a process of its own, as vLLM keeps global state."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def found_by(script, folder):
    """What the script, called with a folder and a file, leaves in the file as JSON."""
    file = folder / "found.json"
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(script), str(folder), str(file)],
        env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(file.read_text())
