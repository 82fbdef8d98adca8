"""A row that fails: the query, NULL, or a value that says why."""

import json

import pytest

from spark_llm import from_exception, metrics
from spark_llm import functions as LF

pytestmark = pytest.mark.spark


@pytest.fixture(scope="module")
def table(spark):
    spark.sql(
        "CREATE OR REPLACE TEMP VIEW t AS SELECT id, if(id = 3, 'BOOM', concat('x', id)) x FROM range(0, 6, 1, 2)"
    )


@pytest.fixture
def failing(conf):
    conf("spark.llm.fake.fail", "BOOM")


def test_fail_says_why(spark, table, failing):
    with pytest.raises(Exception, match=r"\[LLM_REQUEST_REJECTED\]") as raised:
        spark.sql("SELECT llm('p', x) FROM t").collect()
    error = from_exception(raised.value)
    assert (error.condition, error.sqlstate) == ("LLM_REQUEST_REJECTED", "22023")


def test_null(spark, table, failing):
    rows = spark.sql("SELECT id, llm('ECHO', x, on_error => 'null') a FROM t ORDER BY id").collect()
    assert [r.id for r in rows if r.a is None] == [3]
    assert metrics.last_query(spark)[0].failed_rows == 1


def test_try_llm_is_null_where_llm_fails(spark, table, failing):
    rows = spark.sql("SELECT id, try_llm('ECHO', x) a FROM t ORDER BY id").collect()
    assert [r.id for r in rows if r.a is None] == [3]
    (row,) = spark.sql("SELECT try_llm('ECHO', x, on_error => 'struct') a FROM t WHERE id = 3").collect()
    assert (row.a.value, row.a.error.condition) == (None, "LLM_REQUEST_REJECTED")
    column = LF.try_llm("ECHO", "x", return_type=str, last_fields=["x"])
    assert spark.table("t").select("id", column.alias("a")).where("a IS NULL").collect()[0].id == 3


def test_struct(spark, table, failing):
    rows = spark.sql("SELECT id, llm('ECHO', x, on_error => 'struct') a FROM t ORDER BY id").collect()
    assert rows[3].a.value is None
    assert rows[3].a.error.condition == "LLM_REQUEST_REJECTED"
    assert "refused this row" in rows[3].a.error.message
    assert all(r.a.error is None and json.loads(r.a.value) == {"x": f"x{r.id}"} for r in rows if r.id != 3)


def test_row_longer_than_the_context_has_both_numbers(spark, conf):
    conf("spark.llm.fake.maxModelLen", "100")
    sql = "SELECT id, llm('ECHO', struct(repeat('word ', CAST(id AS INT) * 400) AS x, id), on_error => 'struct') a FROM range(2) ORDER BY id"
    short, long = spark.sql(sql).collect()
    assert short.a.error is None
    assert long.a.error.condition == "LLM_PROMPT_TOO_LONG"
    assert "100" in long.a.error.message
    assert "524" in long.a.error.message  # the fake engine counts four characters as a token


def test_answer_that_does_not_fit_its_type(spark, conf, tmp_path):
    answers = tmp_path / "answers.json"
    answers.write_text(json.dumps([{"when": "x1", "answer": "not a number"}]))
    conf("spark.llm.fake.answers", str(answers))
    sql = "SELECT id, llm('p', concat('x', id) , return_type => 'INT', on_error => 'struct') a FROM range(3) ORDER BY id"
    rows = spark.sql(sql).collect()
    assert rows[1].a.error.condition == "LLM_OUTPUT_INVALID"
    assert "is not JSON" in rows[1].a.error.message
    assert "It is of length 12." in rows[1].a.error.message
    conf("spark.llm.logPrompts.enabled", "true")
    assert "It starts with 'not a number'." in spark.sql(sql).collect()[1].a.error.message
    assert isinstance(rows[0].a.value, int)
    assert isinstance(rows[2].a.value, int)


TYPES = {
    "BOOLEAN": "boolean",
    "INT": "int",
    "BIGINT": "bigint",
    "DOUBLE": "double",
    "DECIMAL(10,2)": "decimal(10,2)",
    "DATE": "date",
    "TIMESTAMP": "timestamp",
    "ARRAY<STRING>": "array<string>",
    "STRUCT<a: INT, b: ARRAY<STRING>>": "struct<a:int,b:array<string>>",
    "a INT, b STRING": "struct<a:int,b:string>",
    "MAP<STRING, INT>": "map<string,int>",
    "VARCHAR(20)": "string",
}


@pytest.mark.parametrize("ddl", TYPES)
def test_return_types(spark, ddl):
    frame = spark.sql(f"SELECT llm('p', id, return_type => '{ddl}') a FROM range(5)")
    assert frame.dtypes == [("a", TYPES[ddl])]
    rows = frame.collect()
    assert all(r.a is not None for r in rows)
    assert len({str(r.a) for r in rows}) > 1


def test_equal_questions_are_asked_once(spark):
    spark.sql("SELECT llm('p', id % 3) FROM range(0, 500, 1, 1)").collect()
    cost = metrics.total(metrics.last_query(spark))
    assert (cost.rows, cost.requests) == (500, 3)
    spark.sql("SELECT llm('p', id % 3, temperature => 1) FROM range(0, 500, 1, 1)").collect()
    assert metrics.total(metrics.last_query(spark)).requests == 500
    spark.sql("SELECT llm('p', id % 3, temperature => 1, seed => 1) FROM range(0, 500, 1, 1)").collect()
    assert metrics.total(metrics.last_query(spark)).requests == 3
