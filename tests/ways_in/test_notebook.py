"""The notebook as plain Python, then cell by cell in the session that is there, as a notebook server runs it."""

import re

import pytest

pytestmark = pytest.mark.spark

SOURCE = "# Databricks notebook source"
SPLIT = "\n# COMMAND ----------\n"

RUN_CELLS = """
import runpy, sys
print("-- plain")
runpy.run_path(sys.argv[1])
print("-- cells")
scope = {}
for cell in open(sys.argv[1]).read().split("\\n# COMMAND ----------\\n"):
    magic = [line.removeprefix("# MAGIC").strip() for line in cell.splitlines() if line.startswith("# MAGIC")]
    if magic[:1] and magic[0].startswith("%sql"):
        magic[0] = magic[0].removeprefix("%sql")
        for row in scope["spark"].sql("\\n".join(magic)).collect():
            print(*row, sep="\\t")
    elif not magic:
        exec(cell, scope)
"""


def test_source_form(place):
    text = (place.root / "sql_examples" / "notebook.py").read_text()
    assert text.startswith(f"{SOURCE}\n")
    for cell in text.removeprefix(f"{SOURCE}\n").split(SPLIT):
        lines = [line for line in cell.strip().splitlines() if line]
        magic = [line.startswith("# MAGIC") for line in lines]
        assert all(magic) or not any(magic), f"text and code in one cell:\n{cell}"
        if any(magic):
            assert re.match(r"# MAGIC %(md|sql)\b", lines[0])


def test_plain_and_cell_by_cell(place, blocks, golden, rows):
    (command,) = blocks("notebook")
    (place.root / "cells.py").write_text(RUN_CELLS)
    # One JVM for both: the same file under the same interpreter, started by a script that goes on with the cells.
    out = place.run(command.replace("python ", "python cells.py ", 1))
    _, plain, cells = out.split("-- ")
    assert rows(plain) == golden
    # The SQL cell, then the one with a parameter.
    assert rows(cells) == golden + golden
