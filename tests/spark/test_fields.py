"""Which columns and types reach the prompt, and under which names. The fake engine echoes the row's JSON, keys sorted."""

import json

import pytest

pytestmark = pytest.mark.spark


@pytest.fixture(scope="module")
def tables(spark):
    spark.sql(
        """CREATE OR REPLACE TEMP VIEW t AS
           SELECT CAST(id AS INT) id, concat('x', id) x, named_struct('a', id, 'b', 'z') st FROM range(2)"""
    )


def echo(spark, arguments, source="t"):
    return [
        json.loads(r.a) if r.a is not None else None
        for r in spark.sql(f"SELECT llm('ECHO', {arguments}) a FROM {source}").collect()
    ]


@pytest.mark.parametrize(
    ("arguments", "first"),
    [
        ("*", {"id": 0, "x": "x0", "st": {"a": 0, "b": "z"}}),
        ("t.*", {"id": 0, "x": "x0", "st": {"a": 0, "b": "z"}}),
        ("* EXCEPT (st)", {"id": 0, "x": "x0"}),
        ("st.*", {"a": 0, "b": "z"}),
        ("st", {"st": {"a": 0, "b": "z"}}),
        ("st.b", {"b": "z"}),
        ("struct(x AS label, id)", {"label": "x0", "id": 0}),
        ("named_struct('n', x)", {"n": "x0"}),
        ("x, struct(upper(x) AS big)", {"x": "x0", "big": "X0"}),
        ("upper(x)", {"upper(x)": "X0"}),
        ("x, x", {"t.x": "x0", "t.x_2": "x0"}),
        ("struct(x AS a), struct(id AS a)", {"a": "x0", "a_2": 0}),
        ("x, 'constant'", {"x": "x0", "value": "constant"}),
    ],
)
def test_names(spark, tables, arguments, first):
    assert echo(spark, arguments)[0] == first


def test_equal_names_of_two_tables_get_their_table(spark, tables):
    assert echo(spark, "a.x, b.x", "t a JOIN t b ON a.id = b.id")[0] == {"a.x": "x0", "b.x": "x0"}


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("DATE'2020-01-02'", "2020-01-02"),
        ("TIMESTAMP'2020-01-02 03:04:05'", "2020-01-02T03:04:05.000Z"),
        ("TIMESTAMP_NTZ'2020-01-02 03:04:05'", "2020-01-02T03:04:05.000"),
        ("CAST(1.5 AS DECIMAL(10, 2))", 1.5),
        ("array(1, 2)", [1, 2]),
        ("map('a', 1)", {"a": 1}),
        ("map(1, 2)", {"1": 2}),
        ("CAST('abc' AS BINARY)", "YWJj"),
        ("named_struct('p', array(named_struct('q', 1)))", {"p": [{"q": 1}]}),
        ("INTERVAL '1' DAY", "INTERVAL '1' DAY"),
        ("parse_json('{\"k\": 1}')", {"k": 1}),
        ("true", True),
        ("float('nan')", "NaN"),
        ("collate('A', 'UTF8_LCASE')", "A"),
        ("CAST('x' AS CHAR(5))", "x"),
    ],
)
def test_types(spark, sql, value):
    assert echo(spark, f"struct({sql} AS v), id", "range(1)") == [{"v": value, "id": 0}]


@pytest.mark.parametrize(
    "text", ['"quoted" \\ back', "line\nbreak\ttab", "\x01\x1f control", "€ 漢字 🎉", "%s {x} ${y}", ""]
)
def test_any_text(spark, text):
    frame = spark.createDataFrame([(text,)], "v STRING")
    frame.createOrReplaceTempView("texts")
    assert echo(spark, "v", "texts") == [{"v": text}]


def test_ten_megabyte_strings(spark, conf):
    rows = spark.sql(
        "SELECT length(llm('ECHO', struct(repeat('x', 10000000) AS v), id)) n FROM range(8)"
    ).collect()
    assert [r.n for r in rows] == [10_000_000 + len('{"id": 0, "v": ""}')] * 8


def test_null_fields_are_left_out(spark):
    sql = "SELECT llm('ECHO', struct(id AS a, if(id = 0, NULL, 'b') AS b)) a FROM range(2) ORDER BY id"
    assert [json.loads(r.a) for r in spark.sql(sql).collect()] == [{"a": 0}, {"a": 1, "b": "b"}]


def test_all_null_is_null_without_a_request(spark):
    from spark_llm import metrics

    rows = spark.sql(
        "SELECT llm('ECHO', CAST(NULL AS STRING), NULL) a, llm(NULL, id) b FROM range(3)"
    ).collect()
    assert [tuple(r) for r in rows] == [(None, None)] * 3
    assert metrics.total(metrics.last_query(spark)).requests == 0


def test_no_fields(spark):
    assert (
        spark.sql("SELECT llm('Say hello') a").head().a
        == spark.sql("SELECT llm('Say hello') a FROM range(3)").tail(1)[0].a
    )


def test_table_without_columns(spark):
    rows = spark.range(3).select().selectExpr("llm('Say hello', *) AS a").collect()
    assert len(rows) == 3
    assert len({r.a for r in rows}) == 1


def test_empty_table(spark):
    assert spark.sql("SELECT llm('p', id) FROM range(0)").collect() == []


def test_case_of_the_name_does_not_matter(spark):
    assert spark.sql("SELECT LLM('p', id) = lLm('p', id) a FROM range(1)").head().a


def test_sql_function_view_and_session_variable(spark):
    spark.sql("CREATE TEMPORARY FUNCTION echo_of(v INT) RETURNS STRING RETURN llm('ECHO', v)")
    spark.sql("CREATE OR REPLACE TEMP VIEW answers AS SELECT llm('ECHO', id) a FROM range(1)")
    spark.sql("DECLARE OR REPLACE question = 'ECHO'")
    assert json.loads(spark.sql("SELECT echo_of(CAST(id AS INT)) a FROM range(1)").head().a) == {"v": 0}
    assert json.loads(spark.sql("SELECT a FROM answers").head().a) == {"id": 0}
    assert json.loads(spark.sql("SELECT llm(question, id) a FROM range(1)").head().a) == {"id": 0}


def test_column_function(spark):
    from pyspark.sql import functions as F

    from spark_llm import functions as LF

    frame = spark.range(1).withColumn("x", F.lit("y"))
    for call in (
        LF.llm("ECHO", LF.any_order("id", "x")),
        LF.llm("ECHO", "id", "x", first_fields=["x"], last_fields=["id"]),
    ):
        assert json.loads(frame.select(call.alias("a")).head().a).keys() == {"id", "x"}
    row = frame.select(
        LF.llm("ECHO", "id", F.col("x").alias("label")).alias("a"),
        LF.llm(
            "rate", "x", return_type="INT", on_error="struct", max_tokens=9, temperature=0.0, seed=1
        ).alias("b"),
        LF.llm(F.concat(F.lit("EC"), F.lit("HO")), "*").alias("c"),
    ).head()
    assert json.loads(row.a) == {"id": 0, "label": "y"}
    assert isinstance(row.b.value, int)
    assert json.loads(row.c) == {"id": 0, "x": "y"}
