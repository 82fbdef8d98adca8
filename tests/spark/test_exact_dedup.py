"""Each distinct question of a query is asked once, and every row gets its answer."""

import re

import pytest
from layout_helpers import run

pytestmark = pytest.mark.spark


@pytest.mark.parametrize(
    ("fields", "questions"),
    [
        ("id % 10", 10),
        ("id % 10, 'constant'", 10),
        ("if(id % 10 = 0, NULL, id % 10), id % 2", 10),  # NULL equals NULL
        ("if(id % 2 = 0, NULL, 'null'), id % 3", 6),  # and differs from the text
        ("double(id % 4) / 2, if(id % 2 = 0, float('nan'), 1)", 4),
        ("array(id % 5), struct(id % 2 AS b)", 10),
        ("date_add(DATE'2020-01-01', CAST(id % 6 AS INT)), CAST(id % 3 AS DECIMAL(10, 2))", 6),
        ("id % 5, map('a', id % 2)", 10),  # maps are no keys: the worker finds equal ones
        ("CAST(concat('b', id % 7) AS BINARY)", 7),
        ("collate(if(id % 2 = 0, 'A', 'a'), 'UTF8_LCASE'), id % 3", 6),  # equal, but written differently
    ],
)
def test_questions(spark, fields, questions):
    _, cost, (chosen,) = run(spark, f"SELECT id, llm('p', {fields}) a FROM range(0, 1000, 1, 6)")
    assert chosen.dedup == "query"
    assert (cost.rows, cost.requests) == (1000, questions)


def test_instruction_per_row_counts(spark):
    sql = "SELECT id, llm(if(id % 7 = 0, NULL, concat('p', id % 2)), id % 3) a FROM range(0, 1000, 1, 4)"
    rows, cost, _ = run(spark, sql)
    assert cost.requests == 6
    assert sum(a == "None" for _, a in rows) == len(range(0, 1000, 7))


def test_duplicate_rows_are_counted(spark):
    _, cost, _ = run(spark, "SELECT id, llm('p', id % 10) a FROM range(0, 1000, 1, 4)")
    assert cost.duplicate_rows == 990
    assert cost.requests == 10


def test_rows_that_are_not_asked_stand_between_equal_ones(spark):
    sql = "SELECT id, CASE WHEN id % 3 = 0 THEN llm('ECHO', struct(v)) ELSE 'no' END a FROM (SELECT id, id % 4 v FROM range(0, 1000, 1, 4))"
    rows, cost, _ = run(spark, sql)
    assert rows == sorted((str(i), f'{{"v": {i % 4}}}' if i % 3 == 0 else "no") for i in range(1000))
    assert (cost.requests, cost.rows_skipped_by_condition) == (4, 666)


def test_a_failure_is_the_failure_of_all_equal_rows(spark, conf):
    conf("spark.llm.fake.fail", "bad")
    sql = "SELECT a.error.condition c, count(*) n FROM (SELECT llm('p', if(id % 4 = 0, 'bad', 'good') AS v, on_error => 'struct') a FROM range(0, 1000, 1, 4)) GROUP BY 1"
    sql = sql.replace("if(id % 4 = 0, 'bad', 'good') AS v", "struct(if(id % 4 = 0, 'bad', 'good') AS v)")
    rows, cost, _ = run(spark, sql)
    assert rows == [("LLM_REQUEST_REJECTED", "250"), ("None", "750")]
    assert (cost.failed_rows, cost.requests) == (250, 2)


def test_sampling_asks_every_row(spark):
    _, cost, (chosen,) = run(spark, "SELECT llm('p', id % 10, temperature => 1) a FROM range(0, 1000, 1, 4)")
    assert chosen.dedup == "off (temperature > 0 without a seed)"
    assert (cost.requests, cost.duplicate_rows) == (1000, 0)
    _, cost, (chosen,) = run(
        spark, "SELECT llm('p', id % 10, temperature => 1, seed => 1) a FROM range(0, 1000, 1, 4)"
    )
    assert chosen.dedup == "query"
    assert cost.requests == 10


def test_nested_answers_outlive_their_batch(spark, conf):
    """The answer of a run is kept while its rows are given out, also when the next batch has come."""
    conf("spark.llm.batchRows", "1")
    sql = "SELECT k, llm('p', k, return_type => 'STRUCT<a: STRING, b: ARRAY<STRING>>') a FROM (SELECT id % 20 k FROM range(0, 4000, 1, 4))"
    rows, cost, _ = run(spark, sql)
    assert cost.requests == 20
    assert len(rows) == 4000
    assert len(set(rows)) == 20


def test_a_long_run_of_equal_rows_does_not_fill_memory(spark):
    """400,000 wide rows with one question: more than the heap holds if they were kept in it."""
    sql = "SELECT count(*) n, count(DISTINCT a) d, sum(length(pad)) s FROM (SELECT llm('p', k) a, pad FROM (SELECT id % 1 k, repeat('x', 1500) || id pad FROM range(0, 400000, 1, 4)))"
    (row,), cost, _ = run(spark, sql)
    assert row[:2] == ("400000", "1")
    assert cost.requests == 1


def test_any_order_fields_are_shown_and_pass_their_values(spark):
    frame = spark.sql(
        "SELECT llm('ECHO', id, any_order(struct(id + 1 AS x), struct(id + 2 AS y))) a FROM range(100)"
    )
    assert re.search(r"any_order\(x=\S+, y=\S+\)", call_text(frame))
    assert frame.count() == 100


def call_text(frame):
    return frame._jdf.queryExecution().executedPlan().toString()


@pytest.mark.slow
def test_failed_tasks_leave_answers_alone(tmp_path):
    """A task that runs again sends the same prompts; the probe counts its rows once."""
    import subprocess
    import sys

    from spark_llm import session_conf

    code = f"""
import os
os.environ["PYSPARK_PYTHON"] = {sys.executable!r}
from pyspark.sql import SparkSession
from pyspark import TaskContext
builder = SparkSession.builder.master("local[2,4]").config("spark.ui.showConsoleProgress", "false")
for k, v in {{**{session_conf()!r}, "spark.llm.engine.kind": "fake", "spark.log.level": "OFF"}}.items():
    builder = builder.config(k, v)
spark = builder.getOrCreate()

def flaky(v):
    if TaskContext.get().attemptNumber() == 0 and TaskContext.get().partitionId() == 1:
        raise RuntimeError("first attempt")
    return v

spark.udf.register("flaky", flaky, "bigint")
sql = "SELECT id, llm('p', struct(text, k)) a FROM (SELECT id, concat('t', {{}}) text, concat('k', id % 9, repeat(' k', 50)) k FROM range(0, 1000, 1, 4))"
frame = spark.sql(sql.format("flaky(id)"))
rows = sorted(frame.collect())
assert rows == sorted(spark.sql(sql.format("id")).collect())
assert "fieldOrder=[k, text] (measured in the exchange)" in frame._jdf.queryExecution().executedPlan().toString()
print("fine")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, cwd=tmp_path
    )
    assert done.stdout.strip().endswith("fine"), done.stderr[-2000:]
