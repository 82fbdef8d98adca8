"""HTTP GET over a Unix socket with the standard library alone, for the supervisor."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any

# sun_path of Linux holds 108 bytes, the last of them NUL.
LONGEST_PATH_BYTES = 107


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("engine", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def get_status(path: str, url: str, timeout_s: float = 5.0) -> int | None:
    """The HTTP status of a GET, None when nothing answers."""
    connection = _Connection(path, timeout_s)
    try:
        connection.request("GET", url)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def get_text(path: str, url: str, timeout_s: float = 5.0) -> str | None:
    """The body of a GET that is answered with 200, else None."""
    connection = _Connection(path, timeout_s)
    try:
        connection.request("GET", url)
        answer = connection.getresponse()
        return answer.read().decode(errors="replace") if answer.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def get_json(path: str, url: str, timeout_s: float = 5.0) -> Any:
    """The JSON body of a GET that was answered with 200; None for anything else."""
    text = get_text(path, url, timeout_s)
    try:
        return None if text is None else json.loads(text)
    except ValueError:
        return None


def is_listening(path: Path, timeout_s: float = 2.0) -> bool:
    """Whether a process accepts connections at `path`."""
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    probe.settimeout(timeout_s)
    try:
        probe.connect(str(path))
    except TimeoutError:
        return True  # somebody listens and is busy
    except OSError:
        return False
    finally:
        probe.close()
    return True
