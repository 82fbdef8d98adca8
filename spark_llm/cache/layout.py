"""The folder: which files are answers, which are still being written, how one goes.

DIR/call=<32 hex>/part-<uuid>.parquet           a finished file, immutable
DIR/call=<32 hex>/.part-<uuid>.parquet.tmp      being written, or left behind by a task that died
DIR/call=<32 hex>/.part-<uuid>.parquet.crc      Hadoop's checksum of the first, on local disks
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from pyarrow import fs

from spark_llm.errors import SparkLLMError

ORPHAN_AGE_S: Final = 86_400.0
TARGET_BYTES: Final = 128 << 20
SMALL_BYTES: Final = TARGET_BYTES // 2
CALL: Final = re.compile(r"call=([0-9a-f]{32})")


@dataclass(frozen=True, slots=True)
class CacheFile:
    """A finished file.

    Attributes:
        call: fingerprint of the call it belongs to, 32 hex digits.
        path: where it is, in the terms of the file system.
        size_bytes: its size.
        modified_s: when it was written, in seconds since 1970; none of its rows is younger.
    """

    call: str
    path: str
    size_bytes: int
    modified_s: float


@dataclass(frozen=True, slots=True)
class Listing:
    """What was in the folder at one moment.

    Attributes:
        files: finished files.
        hidden: files being written or left behind, with the same attributes.
    """

    files: tuple[CacheFile, ...]
    hidden: tuple[CacheFile, ...]

    def orphans(self, now_s: float) -> list[CacheFile]:
        """Returns hidden files that no running task can still be writing."""
        return [file for file in self.hidden if file.modified_s < now_s - ORPHAN_AGE_S]


@dataclass(frozen=True)
class Cache:
    """A cache folder on some file system.

    Attributes:
        filesystem: a `pyarrow.fs.FileSystem`.
        root: the folder, in the file system's terms.
        shown: the folder as the user wrote it.
    """

    filesystem: Any
    root: str
    shown: str

    def listing(self) -> Listing:
        """Returns the files of all calls, those of a call by name."""
        files: list[CacheFile] = []
        hidden: list[CacheFile] = []
        for folder in self._infos(self.root):
            match = CALL.fullmatch(folder.base_name)
            if match is None or folder.type != fs.FileType.Directory:
                continue
            infos = {info.base_name: info for info in self._infos(folder.path)}
            for name, info in infos.items():
                if info.type != fs.FileType.File or _is_checksum(name, infos):
                    continue
                file = CacheFile(match[1], info.path, info.size, info.mtime_ns / 1e9)
                if name.startswith((".", "_")):
                    hidden.append(file)
                elif name.endswith(".parquet") and info.size:
                    files.append(file)
        return Listing(tuple(files), tuple(hidden))

    def _infos(self, folder: str) -> list[Any]:
        found = self.filesystem.get_file_info(fs.FileSelector(folder, allow_not_found=True))
        return sorted(found, key=lambda info: str(info.path))

    def publish(self, hidden: str, path: str) -> None:
        """Gives a finished file the name under which readers see it."""
        self.filesystem.move(hidden, path)

    def delete(self, path: str) -> None:
        """Deletes a file, and Hadoop's checksum of it; one that is gone already is fine.

        Raises:
            SparkLLMError: LLM_FILE_NOT_WRITTEN when it may not be deleted.
        """
        folder, _, name = path.rpartition("/")
        try:
            with suppress(FileNotFoundError):
                self.filesystem.delete_file(path)
            if self.filesystem.type_name == "local":
                with suppress(FileNotFoundError):
                    self.filesystem.delete_file(f"{folder}/.{name}.crc")
        except OSError as error:
            raise SparkLLMError("LLM_FILE_NOT_WRITTEN", file=path, reason=error) from error


def _is_checksum(name: str, siblings: dict[str, Any]) -> bool:
    return name.startswith(".") and name.endswith(".crc") and name[1:-4] in siblings
