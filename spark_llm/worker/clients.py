"""One engine client per worker process and settings, kept from task to task."""

from __future__ import annotations

import atexit
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spark_llm.conf import Conf
    from spark_llm.engine.types import EngineClient

_Key = tuple[int, frozenset[tuple[str, str]]]
_ENVIRONMENT: Final = ("SPARK_LLM_ENGINE_SOCKET", "SPARK_LLM_ENGINE_STATE")
_OF_CLIENTS: Final = ("model", "models.", "engine.", "limits.", "errors.", "security.", "fake.")
_clients: dict[_Key, EngineClient] = {}


def client_for(conf: Conf, environ: Mapping[str, str]) -> EngineClient:
    """Returns the client for these settings, opened once per process and closed when the process ends."""
    key = _key(conf, environ)
    if key not in _clients:
        from spark_llm.engine.client import open_client

        _clients[key] = open_client(conf.settings, environ)
    return _clients[key]


def forget(conf: Conf, environ: Mapping[str, str]) -> None:
    """Closes the client for these settings: after an engine failure the next task starts with a new one."""
    client = _clients.pop(_key(conf, environ), None)
    if client is not None:
        client.close()


@atexit.register
def close_all() -> None:
    """Closes the clients of this process."""
    while _clients:
        _clients.popitem()[1].close()


def _key(conf: Conf, environ: Mapping[str, str]) -> _Key:
    prefixes = tuple(f"spark.llm.{part}" for part in _OF_CLIENTS)
    pairs = {(name, value) for name, value in conf.settings.items() if name.startswith(prefixes)}
    # A forked process must not share its parent's connections, hence the process id.
    return os.getpid(), frozenset(pairs | {(name, environ.get(name, "")) for name in _ENVIRONMENT})
