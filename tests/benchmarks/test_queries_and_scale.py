import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(script, *words):
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "benchmarks" / script), *map(str, words)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture
def movies(tmp_path):
    films = [f"Film {at}: {'a long story told slowly ' * 12}" for at in range(6)]
    rows = [(f"review {at}, which nobody else wrote", films[at % 6], at % 6) for at in range(60)]
    rows += rows[:6]  # equal rows
    columns = dict(
        zip(("reviewcontent", "movieinfo", "rottentomatoeslink"), zip(*rows, strict=True), strict=True)
    )
    pq.write_table(
        pa.table({name: list(values) for name, values in columns.items()}), tmp_path / "movies.parquet"
    )
    return tmp_path


def test_whole_groups_are_sampled_in_the_tables_order(movies):
    import query_kinds

    path = movies / "movies.parquet"
    everything = pq.read_table(path)
    found = query_kinds.sample(path, 10**9, 22, seed=3)
    rows = found.column("row_id").to_pylist()
    assert rows == sorted(set(rows))
    assert len(rows) == 22
    assert found.drop_columns("row_id").equals(everything.take(pa.array(rows)))
    links = found.column("rottentomatoeslink").to_pylist()
    assert sorted(map(links.count, set(links))) == [11, 11]  # a film has 11 rows
    assert query_kinds.sample(path, 10**9, None, seed=3).num_rows == 66
    assert 0 < query_kinds.sample(path, 500, None, seed=3).num_rows < 22


def test_the_bound_tells_what_can_be_shared(movies):
    import queries
    from query_kinds import QUERIES

    query = next(q for q in QUERIES if q.kind.startswith("T2") and q.table == "movies")
    shared = pq.read_table(movies / "movies.parquet")
    assert queries.bounds(query, shared, 9000, 10_000, 16)["bound_times"] > 2
    unique = pa.table(
        {name: [f"{name} {'x' * 40} {at} " * 9 for at in range(60)] for name in shared.column_names}
    )
    alone = queries.bounds(query, unique, 9000, 10_000, 16)
    assert alone["bound_times"] < 1.2
    assert alone["cell_bound_times"] < 1.2


def test_gates_hold_a_query_to_what_its_bound_allows():
    import queries

    def line(variant, times, bound):
        return {"variant": variant, "times_faster": times, "bound_times": bound, "same_questions": True}

    rows = [line(queries.WRITTEN, 1, 4), line(queries.NO_DEDUP, 3, 4), line(queries.OURS, 3.6, 4)]
    rows += [line(queries.NO_DEDUP, 1, 1.1), line(queries.OURS, 1.02, 1.1)]
    found = queries.gates(rows)
    assert all(gate["ok"] for gate in found.values())
    assert found["times_faster_worst_where_the_bound_allows"]["value"] == 3.6
    rows += [line(queries.NO_DEDUP, 0.9, 1.1), {**line(queries.OURS, 1.2, 2), "same_questions": False}]
    missed = {name for name, gate in queries.gates(rows).items() if not gate["ok"]}
    assert missed == {
        "times_faster_worst_without_dedup",
        "times_faster_worst_where_the_bound_allows",
        "same_questions",
    }


@pytest.mark.spark
def test_queries_with_the_fake_engine(movies, tmp_path):
    file = tmp_path / "found.json"
    run("queries.py", "--engine", "fake", "--data", movies, "--kinds", "T2", "--cache", 640, "--json", file)
    content = json.loads(file.read_text())
    assert set(content) == {"machine", "commit", "rows", "gates"}
    by = {row["variant"]: row for row in content["rows"]}
    written, ordered, ours = by["written order"], by["ours, no dedup"], by["ours"]
    assert written["requests"] == ordered["requests"] == 66
    assert ours["requests"] == 60
    assert ordered["compute_tokens"] < 0.5 * written["compute_tokens"]
    assert all(row["same_questions"] for row in content["rows"])
    assert content["gates"]["failed_rows"]["ok"]


@pytest.mark.spark
def test_scale_with_few_rows(tmp_path):
    file = tmp_path / "found.json"
    run("scale.py", "--sizes", "1000", "--json", file)
    content = json.loads(file.read_text())
    assert [(row["rows"], row["requests"]) for row in content["rows"]] == [
        (1000, 1000),
        (1000, 100),
    ]
    assert all(row["worker_peak_mib"] > 20 and row["cpu_us_per_row"] > 0 for row in content["rows"])
    assert content["gates"]["requests_over_distinct_rows_duplicates"]["ok"]
