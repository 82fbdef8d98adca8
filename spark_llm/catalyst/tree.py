"""What goes into the jar, and where the package keeps what it builds."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DISTRIBUTION = "pyspark-llm"
SCALA_PACKAGE = "org/apache/spark/sql/llm"

_NOT_FOR_WORKERS = ("demo/model/", "jars/", "catalyst/resources/")


@dataclass(frozen=True)
class Tree:
    """The files of the package `spark_llm`, in a checkout or installed.

    Attributes:
        package: The folder `spark_llm`.
    """

    package: Path

    @cached_property
    def project(self) -> dict[str, Any] | None:
        """The table `[project]` beside a checkout's package; None when the package is installed."""
        file = self.package.parent / "pyproject.toml"
        if not file.is_file():
            return None
        table: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8")).get("project", {})
        return table if table.get("name") == DISTRIBUTION else None

    @property
    def writable(self) -> bool:
        """Whether this is a checkout that builds may leave files in."""
        return self.project is not None and os.access(self.package, os.W_OK)

    @property
    def version(self) -> str:
        """Version of the distribution."""
        if self.project is not None:
            return str(self.project["version"])
        return importlib.metadata.version(DISTRIBUTION)

    @property
    def shipped_jars(self) -> Path:
        """Where a wheel carries its jar and a checkout builds it."""
        return self.package / "jars"

    def sources(self) -> list[Path]:
        """All Scala sources, sorted."""
        return sorted((self.package / "catalyst").rglob("*.scala"))

    def contents(self) -> dict[str, bytes]:
        """Everything of the jar but the classes and the manifest: name in the jar to bytes."""
        entries = {
            f"{SCALA_PACKAGE}/{table.name}": table.read_bytes() for table in self.package.glob("*.json")
        }
        resources = self.package / "catalyst" / "resources"
        for file in _files(resources):
            entries[file.relative_to(resources).as_posix()] = file.read_bytes()
        for file in _files(self.package):
            name = file.relative_to(self.package).as_posix()
            if file.suffix in {".py", ".json", ".css"} and not name.startswith(_NOT_FOR_WORKERS):
                entries[f"spark_llm/{name}"] = file.read_bytes()
        info = f"{DISTRIBUTION.replace('-', '_')}-{self.version}.dist-info"
        entries[f"{info}/METADATA"] = (
            f"Metadata-Version: 2.1\nName: {DISTRIBUTION}\nVersion: {self.version}\n"
        ).encode()
        entries[f"{info}/entry_points.txt"] = self._entry_points().encode()
        return entries

    def _entry_points(self) -> str:
        """The plug-in entry points, which workers and engines must find in the jar as well.

        Console scripts are left out: nothing can run a script from inside a jar.
        """
        groups: dict[str, dict[str, str]] = {}
        if self.project is not None:
            groups = self.project.get("entry-points", {})
        else:
            for entry in importlib.metadata.distribution(DISTRIBUTION).entry_points:
                if entry.group != "console_scripts":
                    groups.setdefault(entry.group, {})[entry.name] = entry.value
        return "\n".join(
            f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in sorted(entries.items()))
            for group, entries in sorted(groups.items())
        )


def user_cache() -> Path:
    """The user's cache folder of this package, as the XDG convention has it."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / DISTRIBUTION


def digest(parts: Iterable[tuple[str, bytes]]) -> str:
    """32 hex digits over names and bytes, in any order given."""
    sha = hashlib.sha256()
    for name, data in sorted(parts):
        sha.update(f"{name}\0{len(data)}\0".encode())
        sha.update(data)
    return sha.hexdigest()[:32]


def _files(folder: Path) -> Iterator[Path]:
    """Files below `folder`, without caches and hidden ones."""
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and not any(part == "__pycache__" or part.startswith(".") for part in parts):
            yield path
