"""Finds the Spark the jar is built for, without importing pyspark."""

from __future__ import annotations

import importlib.util
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class SparkNotFoundError(RuntimeError):
    """No Spark with jars is installed; the message says where was looked and what to install."""


@dataclass(frozen=True, slots=True)
class Spark:
    """A Spark installation.

    Attributes:
        jars: Folder of Spark's own jars.
        version: Full version, e.g. `4.3.0`.
        scala: Binary version of its Scala, e.g. `2.13`.
    """

    jars: Path
    version: str
    scala: str

    @property
    def minor(self) -> str:
        """The line inside which classes stay compatible, e.g. `4.3`."""
        return minor_of(self.version)

    def class_path(self) -> list[Path]:
        """All jars of Spark, sorted, so that a build sees them in one order everywhere."""
        return sorted(self.jars.glob("*.jar"))

    def compiler_path(self) -> list[Path]:
        """The jars the Scala compiler itself needs, a part of Spark's own."""
        names = re.compile(r"(scala-(compiler|library|reflect)|jline)-\d.*\.jar")
        return [jar for jar in self.class_path() if names.fullmatch(jar.name)]


def minor_of(version: str) -> str:
    """`4.3` of `4.3.0`, `4.3.1.dev0` or `4.3`."""
    return ".".join(version.split(".")[:2])


def find_spark(environ: Mapping[str, str] = os.environ) -> Spark:
    """Finds Spark where pyspark would: SPARK_HOME first, then the installed package.

    Raises:
        SparkNotFoundError: Neither has a `jars` folder with Spark in it.
    """
    seen = []
    for source, home in _homes(environ):
        core = sorted((home / "jars").glob("spark-core_*.jar"))
        found = re.fullmatch(r"spark-core_([\d.]+)-(.+)\.jar", core[0].name) if core else None
        if found:
            return Spark(home / "jars", found.group(2), found.group(1))
        seen.append(f"{source} gives {home}, which has no jars/spark-core_*.jar")
    came = "; ".join(seen) or "SPARK_HOME is not set and the package pyspark is not installed"
    raise SparkNotFoundError(
        f"No Spark found: {came}. Install one with `pip install 'pyspark>=4.1,<4.4'` "
        "(`pyspark-client` has no jars: build where the Connect server runs)."
    )


def _homes(environ: Mapping[str, str]) -> list[tuple[str, Path]]:
    homes = []
    if environ.get("SPARK_HOME"):
        homes.append(("SPARK_HOME", Path(environ["SPARK_HOME"])))
    spec = importlib.util.find_spec("pyspark")
    if spec is not None and spec.submodule_search_locations:
        homes.append(("the package pyspark", Path(spec.submodule_search_locations[0])))
    return homes
