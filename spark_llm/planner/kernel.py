"""`@kernel`: compiled with numba at first use, and kept on disk for every later process.

    decorated function ─► on disk for these sources and this processor?  loaded (milliseconds)
                          else compiled (seconds) and kept under CACHE/spark-llm-kernels/HASH OF THE SOURCES/

The folder goes by what the sources say, not by where they lie: a jar that Spark copies anew for each
application, or a package folder nobody may write to, finds the same kernels, and a kernel that changed takes
its callers along. CACHE is NUMBA_CACHE_DIR, else the user's cache folder, else a private one under the
temporary folder.
"""

from __future__ import annotations

import os
import tempfile
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from numba import config, njit

if TYPE_CHECKING:
    from collections.abc import Callable

    Function = TypeVar("Function", bound="Callable[..., Any]")

_LOCATORS = "CACHE_LOCATOR_CLASSES"


def kernel(function: Function) -> Function:
    """Compiles a function for the types it is called with; it runs without the interpreter's lock."""
    before = getattr(config, _LOCATORS, "")
    setattr(config, _LOCATORS, f"{__name__}.{KernelCacheLocator.__name__}")
    try:
        return cast("Function", njit(cache=True, nogil=True)(function))
    finally:
        setattr(config, _LOCATORS, before)


class KernelCacheLocator:
    """Where numba keeps a kernel: its locator interface, without a source file's path or time."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._name = f"{function.__module__}-{function.__code__.co_firstlineno}"
        self._package = function.__module__.rpartition(".")[0]

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> KernelCacheLocator:  # noqa: ARG003
        """The locator of a function; always one, as `cache_folder` can always be written."""
        return cls(py_func)

    def get_cache_path(self) -> str:
        """The folder."""
        return str(cache_folder())

    def ensure_cache_path(self) -> None:
        """Makes the folder."""
        cache_folder().mkdir(parents=True, exist_ok=True)

    def get_source_stamp(self) -> str:
        """What the stored code must have been made from."""
        return sources_hash() + sources_hash(self._package)

    def get_disambiguator(self) -> str:
        """Tells functions of one name apart."""
        return self._name


def cache_folder() -> Path:
    """The folder of these kernels; created for this user alone where it lies under the temporary folder."""
    roots = [os.environ.get("NUMBA_CACHE_DIR"), os.environ.get("XDG_CACHE_HOME"), _home_cache()]
    for root in filter(None, roots):
        folder = Path(root) / "spark-llm-kernels" / sources_hash()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    private = Path(tempfile.gettempdir()) / f"spark-llm-kernels-{os.getuid()}"
    private.mkdir(mode=0o700, exist_ok=True)
    if private.stat().st_uid != os.getuid():
        # compiled code is loaded from there: it must be nobody else's
        private = Path(tempfile.mkdtemp(prefix="spark-llm-kernels-"))
    return private / sources_hash()


def _home_cache() -> str | None:
    home = os.environ.get("HOME", "")
    return str(Path(home) / ".cache") if home and os.access(home, os.W_OK) else None


@cache
def sources_hash(package: str = "spark_llm.planner") -> str:
    """Hash of all modules of a package, read through its loader, so also from inside a jar."""
    digest = sha256()
    modules = [entry for entry in files(package).iterdir() if entry.name.endswith(".py")]
    for entry in sorted(modules, key=lambda module: module.name):
        digest.update(entry.name.encode() + b"\0" + entry.read_bytes())
    return digest.hexdigest()[:16]
