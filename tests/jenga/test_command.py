import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from model_configs import CONFIGS

from spark_llm.cli import main


@pytest.fixture
def model(tmp_path):
    def write(name="gemma-3-27b", text=None):
        path = tmp_path / "config.json"
        path.write_text(text or json.dumps(CONFIGS[name]))
        return path

    return write


def test_the_folder_of_a_model_will_do(model, tmp_path, capsys):
    model()
    assert main(["memory", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("config.json: 62 layers that keep something\n")


def test_lengths_come_from_the_rows_of_a_table(model, tmp_path, capsys):
    texts = ["word " * 40] * 3 + ["word " * 400]
    pq.write_table(pa.table({"a": texts, "b": [1, 2, 3, 4]}), tmp_path / "t.parquet")
    figures = tmp_path / "f.json"
    line = ["memory", str(model()), "--rows", str(tmp_path / "t.parquet"), "--json", str(figures)]
    assert main([*line, "--answer-tokens", "1000"]) == 0
    long = json.loads(figures.read_text())["cases"][0]
    assert main([*line, "--answer-tokens", "0", "--fields", "b"]) == 0
    short = json.loads(figures.read_text())["cases"][0]
    assert "t.parquet: 4 rows, " in capsys.readouterr().out
    assert long["requests"].startswith("t.parquet: 4 rows, 1,")
    assert [at["layout"] for at in short["layouts"]] == ["all_full", "grouped", "jenga"]
    assert all(
        a["needed_bytes"] > 5 * b["needed_bytes"]
        for a, b in zip(long["layouts"], short["layouts"], strict=True)
    )


def test_more_memory_fits_more(model, tmp_path):
    def fit(*more):
        figures = tmp_path / "f.json"
        assert main(["memory", str(model()), "--json", str(figures), *more]) == 0
        return json.loads(figures.read_text())["cases"][0]["layouts"][2]["concurrency"]

    assert fit("--memory", "32g") >= 2 * fit("--memory", "16g")
    assert fit("--kv-dtype", "fp8") >= 2 * fit() - 1
    assert fit("--block-tokens", "512") <= fit()


@pytest.mark.parametrize(
    ("text", "more", "says"),
    [
        ("[1]", [], "LLM_FILE_UNREADABLE"),
        ("{", [], "LLM_FILE_UNREADABLE"),
        ("{}", [], "LLM_INVALID_ARGUMENT"),
        (None, ["--rows", "/nowhere.parquet"], "LLM_FILE_NOT_FOUND"),
        (None, ["--block-tokens", "0"], "LLM_INVALID_ARGUMENT"),
        (None, ["--json", "/nowhere/f.json"], "LLM_FILE_NOT_WRITTEN"),
    ],
)
def test_what_cannot_be_done_is_said(model, capsys, text, more, says):
    assert main(["memory", str(model(text=text)), *more]) == 2
    assert says in capsys.readouterr().err


def test_a_missing_config_is_named(tmp_path, capsys):
    assert main(["memory", str(tmp_path / "config.json")]) == 2
    assert "LLM_FILE_NOT_FOUND" in capsys.readouterr().err
