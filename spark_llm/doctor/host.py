"""The machine under examination: everything the checks ask of the world, in one place a test can replace."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spark_llm.catalyst.build import ensure_jar
from spark_llm.catalyst.jar import read_manifest
from spark_llm.catalyst.java import use_java
from spark_llm.engine.machine import has_bfloat16

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spark_llm.catalyst.java import Java


class Host:
    """This machine."""

    @property
    def environ(self) -> Mapping[str, str]:
        """Environment variables."""
        return os.environ

    def python(self) -> tuple[str, str]:
        """Version and path of the interpreter."""
        return platform.python_version(), sys.executable

    def distribution(self, name: str) -> str | None:
        """Version of an installed distribution; None when it is not installed."""
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return None

    def requirement(self, name: str) -> str:
        """The versions of `name` this package asks for, e.g. `<4.4,>=4.1`; empty when it asks for none."""
        for line in importlib.metadata.requires("pyspark-llm") or []:
            wanted = line.partition(";")[0].strip()
            found = re.fullmatch(re.escape(name) + r"\s*([<>=!~].*)?", wanted)
            if found:
                return found[1] or ""
        return ""

    def java(self) -> Java:
        """The Java runtime Spark will start; JAVA_HOME is set where that needs help.

        Raises:
            JavaNotFoundError: There is none that is new enough.
        """
        return use_java()

    def jar(self) -> tuple[Path, dict[str, str]]:
        """The jar for the installed Spark, built where needed, and its manifest.

        Raises:
            JarBuildError: It cannot be built.
            SparkNotFoundError: No Spark is installed.
        """
        jar = ensure_jar()
        return jar, read_manifest(jar)

    def run(self, arguments: Sequence[str], *, timeout_s: float, text: str = "") -> tuple[int, str, str]:
        """Runs this interpreter on its own, so that what it loads or breaks stays there.

        Returns:
            Exit status (-1 when the time was up), standard output, standard error.
        """
        command = [sys.executable, *arguments]
        try:
            done = subprocess.run(
                command, input=text, capture_output=True, text=True, check=False, timeout=timeout_s
            )
        except subprocess.TimeoutExpired:
            return -1, "", f"no end after {timeout_s:g} s"
        return done.returncode, done.stdout, done.stderr

    def get_json(self, url: str, headers: Mapping[str, str], *, timeout_s: float) -> tuple[int, Any]:
        """GETs a URL.

        Returns:
            HTTP status and parsed body, None when the body is no JSON.

        Raises:
            OSError: The endpoint cannot be reached.
        """
        import httpx

        try:
            answer = httpx.get(url, headers=dict(headers), timeout=timeout_s)
        except httpx.HTTPError as error:
            raise OSError(f"{type(error).__name__}: {error}") from error
        try:
            return answer.status_code, answer.json()
        except ValueError:
            return answer.status_code, None

    def has_bfloat16(self) -> bool:
        """Whether the CPU multiplies bfloat16 itself."""
        return has_bfloat16(Path("/proc/cpuinfo"))

    def temporary_folder(self) -> tuple[str, int]:
        """Where Spark and the engine keep temporary files, and the free bytes there."""
        folder = tempfile.gettempdir()
        return folder, shutil.disk_usage(folder).free

    def is_file(self, path: Path) -> bool:
        """Whether a regular file lies there."""
        return path.is_file()
