"""Small tables, the verb, and the judge of plans where it is there."""

import importlib.util
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spark_llm import cli

ROOT = Path(__file__).resolve().parents[2]
JUDGE = ROOT.parent / "shared" / "tools" / "eval_hits.py"


@pytest.fixture
def films():
    """Twelve rows: three films, a text that belongs to each, a review that comes twice, a null."""
    names, texts = (
        ["Alien", "Heat", "Ran"],
        ["a crew in space " * 8, "a thief in a city " * 8, "a king and sons " * 8],
    )
    return pa.table(
        {
            "review": [
                "good",
                "bad",
                "good",
                None,
                "good",
                "fine",
                "good",
                "bad",
                "good",
                "good",
                "bad",
                "good",
            ],
            "film": [names[at] for at in (0, 1, 2) * 4],
            "about": [texts[at] for at in (0, 1, 2) * 4],
        }
    )


@pytest.fixture
def analyze(tmp_path, capsys):
    """Runs the verb on a table and returns status, output and error."""

    def run(table, *arguments, name="t.parquet"):
        path = tmp_path / name
        if isinstance(table, pa.Table):
            pq.write_table(table, path)
        elif table is not None:
            path.write_text(table, encoding="utf-8")
        status = cli.main(["analyze", str(path), *map(str, arguments)])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


@pytest.fixture(scope="session")
def judge():
    """The module that scores plans, which lies outside the project."""
    if not JUDGE.is_file():
        pytest.skip("the judge of plans, eval_hits.py, is not on this machine")
    spec = importlib.util.spec_from_file_location("eval_hits", JUDGE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
