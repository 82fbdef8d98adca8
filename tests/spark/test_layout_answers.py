"""Whatever Spark does around the exchange, the answers are those of a plain UDF."""

import json

import pytest
from layout_helpers import calls, plan

from spark_llm import metrics
from spark_llm.demo import plain_udf

pytestmark = pytest.mark.spark

ASKED = "llm('p', review, product, n)"
PLAIN = "plain('p', to_json(struct(review, product, n)))"

QUERIES = {
    "projection": "SELECT id, {} a FROM rows_of_layout",
    "filter": "SELECT id FROM rows_of_layout WHERE {} < 'fake:8'",
    "distinct above": "SELECT DISTINCT product, {} a FROM rows_of_layout",
    "distinct below": "SELECT {} a, product FROM (SELECT DISTINCT review, product, n FROM rows_of_layout)",
    "grouped": "SELECT product, count(*) c, max({}) a FROM rows_of_layout GROUP BY product",
    "broadcast": "SELECT /*+ BROADCAST(q) */ id, i, a FROM (SELECT id, {} a FROM rows_of_layout) q "
    "JOIN (SELECT id AS i FROM range(0, 3000, 7)) r ON q.id = r.i",
    "merge": "SELECT /*+ MERGE(q) */ id, i, a FROM (SELECT id, {} a FROM rows_of_layout) q "
    "JOIN (SELECT id AS i FROM range(0, 3000, 7)) r ON q.id = r.i",
    "hash": "SELECT /*+ SHUFFLE_HASH(q) */ id, i, a FROM (SELECT id, {} a FROM rows_of_layout) q "
    "LEFT JOIN (SELECT id AS i FROM range(0, 3000, 7)) r ON q.id = r.i",
    "join with itself": "SELECT l.id, r.a, l.a b FROM (SELECT id, {} a FROM rows_of_layout) l "
    "JOIN (SELECT id, {} a FROM rows_of_layout) r ON l.id = r.id + 1",
    "union": "SELECT id, {} a FROM rows_of_layout UNION ALL SELECT -id, {} FROM rows_of_layout WHERE id % 2 = 0",
    "window": "SELECT id, first_value({}) OVER (PARTITION BY product ORDER BY id) a FROM rows_of_layout",
    "repartitioned": "SELECT /*+ REPARTITION(5) */ id, {} a FROM (SELECT /*+ REPARTITION(7, id) */ * FROM rows_of_layout)",
    "same keys as a repartition": "SELECT id, {} a FROM (SELECT /*+ REPARTITION(4, review, product, n) */ * FROM rows_of_layout)",
}


@pytest.fixture(scope="module")
def rows(spark):
    plain_udf.register(spark, {"spark.llm.engine.kind": "fake"}, {})
    spark.sql(
        """CREATE TABLE rows_of_layout USING parquet AS SELECT id, concat('review ', id % 700) review,
           concat('product ', id * 7919 % 50, repeat(' of the house', 20)) product,
           if(id % 4 = 0, NULL, concat('n', id % 10)) n FROM range(0, 2000, 1, 4)"""
    )
    yield
    spark.sql("DROP TABLE rows_of_layout")


def answers(frame):
    return sorted(tuple(map(str, row)) for row in frame.collect())


@pytest.mark.parametrize("adaptive", ["true", "false"])
@pytest.mark.parametrize("name", QUERIES)
def test_answers_are_those_of_a_plain_udf(spark, rows, name, adaptive):
    spark.conf.set("spark.sql.adaptive.enabled", adaptive)
    try:
        frame = spark.sql(QUERIES[name].replace("{}", ASKED))
        ours = answers(frame)
        requests = sum(call.requests for call in metrics.last_query(spark))
        keys = {c.exchange.partition(" (few rows")[0] for c in calls(frame)}
        assert keys <= {"[review, product, n]", "[product, review, n]"}
        assert ours == answers(spark.sql(QUERIES[name].replace("{}", PLAIN)))
        assert requests <= 1400  # distinct questions: 700 reviews with two values of n at most
    finally:
        spark.conf.unset("spark.sql.adaptive.enabled")


def test_shared_copies_are_measured_once_and_alike(spark, rows):
    frame = spark.sql(QUERIES["join with itself"].replace("{}", ASKED))
    frame.collect()
    assert {c.why for c in calls(frame)} == {"measured in the exchange"}
    assert plan(frame).count("LLMProbe") == 1
    assert "ReusedExchange" in plan(frame)


def test_skipped_rows_are_spread(spark, rows, conf):
    """Their computed fields are NULL, which would send them all to one task."""
    conf("spark.llm.exchange.partitions", "8")
    guarded = "CASE WHEN id % 10 = 0 THEN llm('p', upper(product)) ELSE 'no' END"
    frame = spark.sql(f"SELECT id, {guarded} a FROM rows_of_layout")
    sizes = frame.rdd.mapPartitions(lambda part: [sum(1 for _ in part)]).collect()
    assert sum(sizes) == 2000
    assert max(sizes) < 600
    frame.collect()
    (cost,) = metrics.last_query(spark)
    assert (cost.requests, cost.rows_skipped_by_condition) == (5, 1800)


def test_calls_with_other_conditions_do_not_share_spread_rows(spark, rows):
    sql = """SELECT id, CASE WHEN id % 10 = 0 THEN llm('p', upper(product)) END a,
             CASE WHEN id % 10 = 0 THEN llm('q', upper(product)) END b, llm('r', upper(product)) c FROM rows_of_layout"""
    frame = spark.sql(sql)
    ours = answers(frame)
    assert sum(call.requests for call in metrics.last_query(spark)) == 5 + 5 + 50
    plain = sql.replace("llm(", "plain(").replace(
        "upper(product))", "to_json(struct(upper(product) AS `upper(product)`)))"
    )
    assert ours == answers(spark.sql(plain))


@pytest.mark.parametrize(
    ("switch", "is_sorted"), [(None, True), ("reorderRows", False), ("dedup", True)], ids=str
)
def test_worker_is_told_whether_rows_are_sorted(spark, rows, conf, switch, is_sorted):
    spark.conf.set("spark.sql.adaptive.enabled", "false")
    try:
        if switch:
            conf(f"spark.llm.{switch}.enabled", "false")
        frame = spark.sql(
            "SELECT llm('p', review, any_order(product, n), last_fields => array('review')) a FROM rows_of_layout"
        )
        node = frame._jdf.queryExecution().executedPlan()
        while node.nodeName() != "LLMEval":
            node = node.children().head()
        llm = spark._jvm.org.apache.spark.sql.llm
        assert json.loads(llm.Resources.write(node.layoutSpec())) == {
            "field_order": [1, 2, 0],
            "any_order": [[1, 2]],
            "first": [],
            "last": [0],
            "sorted": is_sorted,
        }
    finally:
        spark.conf.unset("spark.sql.adaptive.enabled")
