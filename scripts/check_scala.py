"""House rules for Scala files that the compiler does not know; prints every breach, exits 1 on any."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
MAX_COLUMNS = 120
MAX_LINES = 600
PACKAGE = "package org.apache.spark.sql.llm"
# private to their own package in Spark
OTHER_PACKAGES = ("package org.apache.spark.sql.execution.joins.llm",)


def breaches(text: str) -> Iterator[tuple[int, str]]:
    """Yields line number (from 1) and fault for everything in `text` that breaks a rule."""
    lines = text.split("\n")
    for number, line in enumerate(lines, start=1):
        if len(line) > MAX_COLUMNS:
            yield number, f"{len(line)} columns, allowed are {MAX_COLUMNS}"
        if "\t" in line:
            yield number, "a tab, use spaces"
        if line != line.rstrip():
            yield number, "space at the end of the line"
    if not text.endswith("\n") or text.endswith("\n\n"):
        yield len(lines), "the file must end in exactly one newline"
    if len(lines) - 1 > MAX_LINES:
        yield len(lines), f"{len(lines) - 1} lines, allowed are {MAX_LINES}: one file, one idea"
    if not any(line in {PACKAGE, *OTHER_PACKAGES} or line.startswith(f"{PACKAGE}.") for line in lines):
        yield 1, f"must be in `{PACKAGE}`, where Spark's private members can be reached"


def main() -> int:
    """Checks all Scala files of the package."""
    found = 0
    for file in sorted((ROOT / "spark_llm").rglob("*.scala")):
        for number, fault in breaches(file.read_text(encoding="utf-8")):
            print(f"{file.relative_to(ROOT)}:{number}: {fault}")
            found += 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
