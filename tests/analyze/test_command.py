import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest


def test_it_prints_orders_fields_and_duplicates(analyze, films):
    status, out, err = analyze(films)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "t.parquet: 12 rows, 3 fields"
    names = ["as written", "fixed order", "planned", "planned, equal rows once"]
    counts = {name: re.search(rf"^{name}  +(\d+)", out, re.MULTILINE)[1] for name in names}
    assert counts == {
        "as written": "12",
        "fixed order": "12",
        "planned": "12",
        "planned, equal rows once": "6",
    }
    assert re.search(r"^about .* fixed by film$", out, re.MULTILINE)
    assert re.search(r"^all 3 fields +6 +50 %$", out, re.MULTILINE)
    assert max(map(len, lines)) <= 130


def test_planned_costs_less_and_figures_agree(analyze, films, tmp_path):
    assert analyze(films, "--json", tmp_path / "f.json")[0] == 0
    data = json.loads((tmp_path / "f.json").read_text())
    written, _, planned, distinct = data["orders"]
    assert distinct["compute_tokens"] <= planned["compute_tokens"] < written["compute_tokens"]
    for order in data["orders"]:
        assert order["reused_tokens"] + order["compute_tokens"] == order["prompt_tokens"]
        assert order["reused_tokens"] <= order["reused_unlimited_tokens"]
        assert sum(f["reused_tokens"][order["name"]] for f in data["field_reports"]) <= order["reused_tokens"]
    assert planned["reused_tokens"] <= data["shareable_tokens"] <= planned["prompt_tokens"]


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"x": ["only"]}),
        pa.table({"x": pa.nulls(3)}),
        pa.table({"x": [None, "", "a\nb"], "y": [[1], None, [1]], "z": [1.0, float("nan"), None]}),
        pa.table({f"column number {at}": [f"{row % (at + 1)} ☃ {'wide ' * at}" for row in range(40)] for at in range(72)}),
        pa.table({"x": ["same"] * 100, "y": ["same"] * 100}),
    ],
    ids=["one row", "only nulls", "mixed", "72 fields", "all equal"],
)  # fmt: skip
def test_odd_tables(analyze, table, tmp_path):
    status, out, _ = analyze(table, "--html", tmp_path / "r.html", "--plan", tmp_path / "p.parquet")
    assert status == 0
    assert f"{table.num_rows:,} rows" in out
    assert "NaN" not in out
    assert (tmp_path / "r.html").read_text().startswith("<!DOCTYPE html>")
    plan = pq.read_table(tmp_path / "p.parquet")
    assert sorted(plan["row"].to_pylist()) == list(range(table.num_rows))
    assert {tuple(sorted(fields)) for fields in plan["fields"].to_pylist()} == {
        tuple(sorted(table.column_names))
    }


def test_chunks_give_whole_plans_and_say_so(analyze, films, tmp_path):
    status, out, _ = analyze(films, "--chunk-rows", 5, "--plan", tmp_path / "p.parquet")
    assert status == 0
    assert "chunks  3: each planned by itself" in out
    rows = pq.read_table(tmp_path / "p.parquet")["row"].to_pylist()
    assert [sorted(rows[:5]), sorted(rows[5:10]), sorted(rows[10:])] == [
        list(range(5)),
        list(range(5, 10)),
        [10, 11],
    ]


def test_chosen_fields_in_their_order(analyze, films, tmp_path):
    assert (
        analyze(films, "--fields", "film, review", "--plan", tmp_path / "p.parquet", "--last", "film")[0] == 0
    )
    fields = pq.read_table(tmp_path / "p.parquet")["fields"].to_pylist()
    assert fields == [["review", "film"]] * 12


def test_csv_and_folders(analyze, films, tmp_path):
    text = 'name,"what, really"\nann,"x\ny"\nbob,"x\ny"\n'
    status, out, _ = analyze(text, name="t.csv")
    assert status == 0
    assert re.search(r"^what, really .* the same in all rows$", out, re.MULTILINE)
    folder = tmp_path / "table"
    folder.mkdir()
    (folder / "_SUCCESS").touch()
    pq.write_table(films.slice(0, 7), folder / "part-0.parquet")
    pq.write_table(films.slice(7), folder / "part-1.parquet")
    assert "table: 12 rows, 3 fields" in analyze(None, name="table")[1]


@pytest.mark.parametrize(
    ("given", "arguments", "message"),
    [
        (None, [], "[LLM_FILE_NOT_FOUND] There is no file <path>. Hint: Give the path of"),
        ("not parquet", [], "[LLM_FILE_UNREADABLE] The file <path> cannot be read: "),
        ("films", ["--fields", "flim"], "[LLM_FIELD_NOT_FOUND] The table <path> has no field flim. Did you mean film? It has: review, film, about."),
        ("films", ["--first", "nope"], "[LLM_FIELD_NOT_FOUND]"),
        ("films", ["--any-order", "film"], "[LLM_INVALID_ARGUMENT] The argument --any-order film is not valid: expected two or more fields."),
        ("films", ["--any-order", "film,about", "--last", "film"], "[LLM_INVALID_ARGUMENT]"),
        ("films", ["--first", "film", "--last", "film"], "[LLM_INVALID_ARGUMENT]"),
        ("films", ["--fields", "film,film"], "[LLM_INVALID_ARGUMENT]"),
        ("films", ["--block-tokens", "0"], "[LLM_INVALID_ARGUMENT]"),
        ("films", ["--chunk-rows", "0"], "[LLM_INVALID_ARGUMENT]"),
        ("films", ["--fields", ","], "[LLM_TABLE_EMPTY] The table <path> has no fields."),
        ("films", ["--json", "/no/such/folder/f"], "[LLM_FILE_NOT_WRITTEN] The file /no/such/folder/f cannot be written: there is no folder /no/such/folder."),
        ("films", ["--plan", "/no/such/folder/f"], "[LLM_FILE_NOT_WRITTEN]"),
        ("films", ["--tokenizer", "/no/such/tokenizer.json"], "[LLM_FILE_UNREADABLE]"),
        ("empty", [], "[LLM_TABLE_EMPTY] The table <path> has no rows. Hint: Give a table with at least one row"),
    ],
)  # fmt: skip
def test_bad_input_is_told_and_exits_2(analyze, films, tmp_path, given, arguments, message):
    table = {"films": films, "empty": films.slice(0, 0)}.get(given, given)
    status, out, err = analyze(table, *arguments)
    assert (status, out) == (2, "")
    assert err.startswith(message.replace("<path>", str(tmp_path / "t.parquet")))
    assert "SQLSTATE" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(("text", "condition"), [("", "LLM_TABLE_EMPTY"), ("a,b\n", "LLM_TABLE_EMPTY"), ("a\n1\n2,3\n", "LLM_FILE_UNREADABLE")])  # fmt: skip
def test_bad_csv(analyze, text, condition):
    status, _, err = analyze(text, name="t.csv")
    assert status == 2
    assert f"[{condition}]" in err


def test_wrong_usage_is_told_by_the_parser(analyze, films):
    with pytest.raises(SystemExit, match="2"):
        analyze(films, "--policy", "best")
    with pytest.raises(SystemExit, match="2"):
        analyze(films, "--in-flight", "-1")
