"""From what the user wrote to a folder on some file system."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from pyarrow import ArrowException, fs

from spark_llm.cache.layout import CALL, Cache
from spark_llm.errors import SparkLLMError

_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def open_cache(folder: str) -> Cache:
    """Opens a cache folder: a local path, or a URI that `pyarrow.fs.FileSystem.from_uri` takes.

    Raises:
        SparkLLMError: LLM_CACHE_NOT_FOUND when there is none; an empty folder is an empty cache.
    """

    def refuse(reason: object) -> SparkLLMError:
        return SparkLLMError("LLM_CACHE_NOT_FOUND", dir=folder, reason=str(reason).partition("\n")[0])

    try:
        if _URI.match(folder):
            filesystem, root = fs.FileSystem.from_uri(folder)
        else:
            filesystem, root = fs.LocalFileSystem(), Path(folder).absolute().as_posix()
        info = filesystem.get_file_info(root)
        if info.type == fs.FileType.NotFound:
            raise refuse("it does not exist")
        if info.type != fs.FileType.Directory:
            raise refuse("it is a file")
        inside = [entry.base_name for entry in filesystem.get_file_info(fs.FileSelector(root))]
    except (ArrowException, OSError) as error:
        raise refuse(error) from error
    if inside and not any(CALL.fullmatch(name) for name in inside):
        raise refuse(f"it holds no folder call=…, but {min(inside)}")
    return Cache(filesystem, root, folder)
