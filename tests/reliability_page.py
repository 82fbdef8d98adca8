"""docs/reliability.md: bad inputs tried and what became of them, a row for each test that says so.

@pytest.mark.reliability("what came", "outcome")  ─► stated_rows    by reading the sources
pytest -m reliability --write-reliability         ─► page           only if every one of them ran and passed
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import NamedTuple

import pytest

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "reliability.md"
_HEAD = """# Reliability

What was done to a running system, and what became of it. Each row is a test; the page is written by a run of all of
them (`pytest -m reliability --write-reliability`), and only if all passed.

| What came | Outcome | Test |
|---|---|---|
"""


class Row(NamedTuple):
    """One line of the table; ``test`` is ``file.py::function``."""

    came: str
    outcome: str
    test: str


def stated_rows(folder: Path = TESTS) -> list[Row]:
    """Returns what the tests below ``folder`` claim, sorted by file and place in it."""
    return [row for file in sorted(folder.rglob("test_*.py")) for row in _rows_of(file, folder)]


def _rows_of(file: Path, folder: Path) -> list[Row]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    name = file.relative_to(folder).as_posix()
    return [
        Row(*(ast.literal_eval(argument) for argument in mark.args), f"{name}::{node.name}")
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        for mark in node.decorator_list
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.reliability"
    ]


def page(rows: list[Row]) -> str:
    """Returns the text of the page."""
    lines = ("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
    return _HEAD + "\n".join(lines) + "\n"


class Recorder:
    """Remembers how the tests of a run ended, and writes the page."""

    def __init__(self) -> None:
        self._ended: dict[str, set[str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Takes one phase of one test."""
        if report.when == "call" or report.outcome != "passed":
            file, _, rest = report.nodeid.partition("::")
            test = f"{file.removeprefix('tests/')}::{rest.partition('[')[0]}"
            self._ended.setdefault(test, set()).add(report.outcome)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Writes the page, or says which rows have no proof."""
        rows = stated_rows()
        unproved = [row.test for row in rows if self._ended.get(row.test) != {"passed"}]
        if unproved:
            terminalreporter.write_line(
                f"{PAGE} is not written; not run, or not passed: {', '.join(unproved)}"
            )
        else:
            PAGE.write_text(page(rows), encoding="utf-8")
            terminalreporter.write_line(f"written: {PAGE} ({len(rows)} rows)")
