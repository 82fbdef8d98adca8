"""The engine's folder: private, used by one supervisor at a time, and free of what a former one left."""

from __future__ import annotations

import fcntl
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from spark_llm.engine.process import kill_leftovers
from spark_llm.engine.uds import LONGEST_PATH_BYTES, is_listening
from spark_llm.errors import engine_failed

if TYPE_CHECKING:
    from typing import IO


@dataclass(frozen=True, slots=True)
class Place:
    """Paths of one engine; `log` may lie in a folder the user chose (spark.llm.engine.logDir)."""

    folder: Path
    socket: Path
    state: Path
    log: Path

    @classmethod
    def of(cls, folder: Path, log_dir: str | None) -> Place:
        """The paths for `folder`; a log outside it is named after it, as many engines may share `log_dir`."""
        name = "-".join(folder.absolute().parts[-2:])
        log = Path(log_dir).expanduser() / f"engine-{name}.log" if log_dir else folder / "engine.log"
        return cls(folder, folder / "engine.sock", folder / "state.json", log.absolute())


def take(place: Place) -> IO[str]:
    """Makes the folder ready for a new engine.

    Returns:
        The lock on the folder: keep it open as long as the engine runs.

    Raises:
        SparkLLMError: LLM_ENGINE_FAILED when the folder belongs to someone else, its path is too long for a
            socket, another supervisor works in it, or an unknown process listens at its socket.
    """
    _make_private(place.folder)
    if len(os.fsencode(place.socket)) > LONGEST_PATH_BYTES:
        raise engine_failed(
            f"the path of its socket is longer than the {LONGEST_PATH_BYTES} bytes of Linux: {place.socket}"
        )
    place.log.parent.mkdir(parents=True, exist_ok=True)
    lock = (place.folder / "lock").open("w", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise engine_failed(f"another supervisor already runs in {place.folder}", str(place.log)) from error
    kill_leftovers(place.log)
    if place.socket.exists() or place.socket.is_symlink():
        if is_listening(place.socket):
            raise engine_failed(
                f"a process that is not ours listens at {place.socket}; end it, or remove the file",
                str(place.log),
            )
        place.socket.unlink()
    return lock


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise engine_failed(f"{folder} is not a folder of this user (it belongs to user id {found.st_uid})")
    folder.chmod(0o700)
