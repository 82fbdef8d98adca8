"""Plans on disk, read by the judge that knows nothing of our code."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spark_llm.analyze.orders import Requests
from spark_llm.analyze.plan import plan_table


def score(judge, table, plan):
    return judge.score(judge.read_table(str(table)), judge.read_plan(str(plan)))


def test_a_plan_is_row_and_fields():
    import numpy as np

    requests = Requests(np.array([1, 0]), np.array([[0, 1], [1, 0]]), np.array([1, 0]))
    plan = plan_table(requests, ["a", "b"], first_row=10)
    assert plan.schema == pa.schema({"row": pa.int64(), "fields": pa.list_(pa.string())})
    assert plan.to_pylist() == [{"row": 11, "fields": ["b", "a"]}, {"row": 10, "fields": ["a", "b"]}]


def test_with_dedup_only_distinct_rows_are_in_the_plan(analyze, films, tmp_path):
    assert analyze(films, "--dedup", "--plan", tmp_path / "p.parquet")[0] == 0
    assert pq.read_table(tmp_path / "p.parquet").num_rows == 6


def test_the_judge_accepts_plans(analyze, films, tmp_path, judge):
    plan = tmp_path / "p.parquet"
    assert analyze(films, "--plan", plan)[0] == 0
    whole = score(judge, tmp_path / "t.parquet", plan)
    assert (whole["sent"], whole["deduplicated"]) == (12, 0)
    assert analyze(films, "--plan", plan, "--dedup")[0] == 0
    once = score(judge, tmp_path / "t.parquet", plan)
    assert (once["sent"], once["deduplicated"]) == (6, 6)
    assert once["compute"]["40000"] < whole["compute"]["40000"]


@pytest.fixture
def passages():
    texts = [f"passage {at} about {'things ' * (at + 3)}" for at in range(6)]
    rows = [(0, 1, 2), (2, 0, 3), (1, 0, 2), (3, 2, 0), (4, 5, 0), (5, 4, 1), (0, 1, 2), (2, 3, 5)]
    columns = {f"context{at}": [texts[row[at]] for row in rows] for at in range(3)}
    return pa.table({"question": [f"q{at % 6}" for at in range(len(rows))], **columns})


@pytest.mark.parametrize("more", [[], ["--dedup"], ["--chunk-rows", "3"]])
def test_sets_move_within_rows_only(analyze, passages, tmp_path, judge, more):
    plan, moved = tmp_path / "p.parquet", tmp_path / "moved.parquet"
    names = ["context0", "context1", "context2"]
    status, *_ = analyze(passages, "--any-order", ",".join(names), "--plan", plan, "--table", moved, *more)
    assert status == 0
    before, after = passages.to_pylist(), pq.read_table(moved).to_pylist()
    assert [row["question"] for row in after] == [row["question"] for row in before]
    assert [sorted(row[n] for n in names) for row in after] == [
        sorted(row[n] for n in names) for row in before
    ]
    assert after != before
    if "--chunk-rows" not in more:
        assert after[6] == after[0]  # equal rows stay equal
    found = score(judge, moved, plan)
    assert found["sent"] + found["deduplicated"] == 8


def test_the_judge_counts_what_we_count(analyze, films, tmp_path, judge):
    """Same rows, no nulls, same head: the simulated cache finds the same tokens."""
    import json

    head = judge.SYSTEM.format(q=judge.QUERY)
    table = films.set_column(0, "review", films["review"].fill_null("none"))
    assert analyze(table, "--plan", tmp_path / "p.parquet", "--json", tmp_path / "f.json")[0] == 0
    planned = json.loads((tmp_path / "f.json").read_text())["orders"][2]
    found = score(judge, tmp_path / "t.parquet", tmp_path / "p.parquet")
    more = len(judge.proxy_tokenizer()(head)) - json.loads((tmp_path / "f.json").read_text())["head_tokens"]
    assert found["tokens"] == planned["prompt_tokens"] + 12 * more


@pytest.mark.slow
def test_retrieved_passages_as_a_set_reach_what_is_promised(tmp_path, judge, capsys):
    from spark_llm import cli

    table = Path(judge.__file__).parents[1] / "data" / "squad_rag.parquet"
    if not table.is_file():
        pytest.skip("the real tables are not on this machine")
    plan, moved = tmp_path / "p.parquet", tmp_path / "moved.parquet"
    names = ",".join(f"context{at}" for at in range(1, 6))
    command = ["analyze", table, "--any-order", names, "--plan", plan, "--table", moved]
    assert cli.main([str(word) for word in command]) == 0
    capsys.readouterr()
    assert score(judge, moved, plan)["lru"]["40000"] >= 0.54
