"""docs/reliability.md claims what tests prove, nothing else."""

import reliability_page
from reliability_page import Row, page, stated_rows


def test_the_page_is_that_of_the_tests():
    assert reliability_page.PAGE.read_text() == page(stated_rows())


def test_rows_are_read_from_the_markers(tmp_path):
    (tmp_path / "test_x.py").write_text(
        'import pytest\n\n\n@pytest.mark.reliability("a | b", "gone")\n@pytest.mark.slow\ndef test_a(): ...\n\n\ndef test_b(): ...\n'
    )
    assert stated_rows(tmp_path) == [Row("a | b", "gone", "test_x.py::test_a")]
    assert page(stated_rows(tmp_path)).splitlines()[-1] == "| a \\| b | gone | test_x.py::test_a |"


def test_only_what_passed_is_written(monkeypatch, tmp_path):
    class Report:
        def __init__(self, nodeid, outcome, when="call"):
            self.nodeid, self.outcome, self.when = nodeid, outcome, when

    class Terminal:
        def write_line(self, line):
            said.append(line)

    said = []
    monkeypatch.setattr(reliability_page, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(reliability_page, "stated_rows", lambda: [Row("x", "y", "core/test_x.py::test_a")])
    recorder = reliability_page.Recorder()
    recorder.pytest_terminal_summary(Terminal())
    assert "core/test_x.py::test_a" in said[0]
    assert not reliability_page.PAGE.exists()
    recorder.pytest_runtest_logreport(Report("tests/core/test_x.py::test_a[1]", "passed"))
    recorder.pytest_terminal_summary(Terminal())
    assert reliability_page.PAGE.read_text().endswith("| x | y | core/test_x.py::test_a |\n")
    recorder.pytest_runtest_logreport(Report("tests/core/test_x.py::test_a[2]", "failed"))
    reliability_page.PAGE.unlink()
    recorder.pytest_terminal_summary(Terminal())
    assert not reliability_page.PAGE.exists()
