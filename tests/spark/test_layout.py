"""Field order and exchange of a call: what is chosen, why, and that neither changes an answer."""

import pytest
from layout_helpers import NO_SWITCHES, call, calls, plan, run

from spark_llm import metrics

pytestmark = pytest.mark.spark

Q = "SELECT id, llm('Is it good?', review, product, stars) a FROM {}"


@pytest.fixture(scope="module")
def tables(spark):
    """1000 rows, 50 products with long names, all reviews different; `analyzed` has catalog statistics."""
    rows = """SELECT CAST(id AS INT) id, concat('review number ', id) review,
              concat('product ', id * 7919 % 50, repeat(' of the house', 20)) product, CAST(id % 5 AS INT) stars,
              map('k', id % 3) m, if(id % 4 = 0, NULL, concat('n', id % 10)) n FROM range(0, 1000, 1, 4)"""
    for name in ("plain_rows", "analyzed"):
        spark.sql(f"CREATE TABLE {name} USING parquet AS {rows}")
    spark.sql("ANALYZE TABLE analyzed COMPUTE STATISTICS FOR COLUMNS id, review, product, stars, n")
    yield
    for name in ("plain_rows", "analyzed"):
        spark.sql(f"DROP TABLE {name}")


@pytest.fixture
def off(conf):
    def switch(*names):
        for name in names:
            conf(f"spark.llm.{name}.enabled", "false")

    return switch


def test_catalog_statistics_choose_order_and_keys_without_a_job(spark, tables):
    tracker = spark.sparkContext.statusTracker()
    before = tracker.getJobIdsForGroup(None)
    chosen = call(spark.sql(Q.format("analyzed")))
    assert (chosen.order, chosen.why) == ("product, stars, review", "catalog statistics")
    assert (chosen.dedup, chosen.exchange.partition(" (")[0]) == ("query", "[product]")
    assert tracker.getJobIdsForGroup(None) == before


@pytest.mark.parametrize(
    "source",
    [
        "(SELECT * FROM analyzed WHERE id >= 0)",
        "(SELECT id, review, product, stars FROM analyzed a JOIN (SELECT id AS i FROM plain_rows) b ON a.id = b.i)",
        "(SELECT id, review, concat('x', product) p, product, stars FROM analyzed)",
    ],
    ids=["filter", "join", "projection"],
)
def test_catalog_statistics_are_found_above(spark, tables, source):
    chosen = call(spark.sql(Q.format(source)))
    assert (chosen.order, chosen.why) == ("product, stars, review", "catalog statistics")


def test_without_statistics_the_exchange_measures(spark, tables):
    frame = spark.sql(Q.format("plain_rows"))
    planned = call(frame)
    assert (planned.order, planned.why) == (
        "review, product, stars",
        "as written until measured in the exchange",
    )
    assert planned.exchange == "[review, product, stars]"
    frame.collect()
    measured = call(frame)
    assert (measured.order, measured.why) == ("product, stars, review", "measured in the exchange")
    assert "Sort [product" in plan(frame)


def test_answers_are_the_same_whatever_is_switched_off(spark, tables, off):
    (ours, cost, _), (known, known_cost, _) = (run(spark, Q.format(t)) for t in ("plain_rows", "analyzed"))
    off(*NO_SWITCHES)
    written, written_cost, (chosen,) = run(spark, Q.format("plain_rows"))
    assert ours == known == written
    assert chosen.why == "as written: spark.llm.reorderFields.enabled=false"
    assert chosen.exchange == "none (spark.llm.reorderRows.enabled=false)"
    assert chosen.dedup == "off (spark.llm.dedup.enabled=false)"
    assert cost.requests == known_cost.requests == written_cost.requests == 1000
    assert min(cost.cached_prompt_tokens, known_cost.cached_prompt_tokens) > 0.5 * cost.prompt_tokens
    assert written_cost.cached_prompt_tokens < 0.05 * cost.prompt_tokens


def test_policy_original_leaves_all_as_it_is(spark, tables, conf):
    conf("spark.llm.planner.policy", "original")
    chosen = call(spark.sql(Q.format("analyzed")))
    assert (chosen.order, chosen.why) == (
        "review, product, stars",
        "as written: spark.llm.planner.policy=original",
    )
    assert "only" in chosen.exchange


def test_without_adaptive_execution_nothing_is_measured(spark, tables, conf):
    conf("spark.sql.adaptive.enabled", "false")
    rows, cost, (chosen,) = run(spark, Q.format("plain_rows"))
    assert chosen.why == "as written: no statistics, and adaptive execution is off"
    assert cost.requests == 1000
    known, _, (chosen,) = run(spark, Q.format("analyzed"))
    assert chosen.why == "catalog statistics"
    assert known == rows


@pytest.mark.parametrize("table", ["plain_rows", "analyzed"])
@pytest.mark.parametrize(
    ("pins", "order"),
    [
        ("first_fields => array('review')", "review, product, stars"),
        ("last_fields => array('Product')", "stars, review, product"),
        ("first_fields => array('stars'), last_fields => array('product')", "stars, review, product"),
        ("first_fields => array('review', 'stars', 'product')", "review, stars, product"),
    ],
)
def test_pinned_fields_stay(spark, tables, table, pins, order):
    frame = spark.sql(f"SELECT llm('p', review, product, stars, {pins}) a FROM {table}")
    frame.collect()
    assert call(frame).order == order


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT id, llm('p', product, id) a FROM plain_rows LIMIT 5", "at most 5 rows"),
        ("SELECT id FROM plain_rows WHERE llm('p', id) < 'fake:8' LIMIT 5", "a LIMIT above stops early"),
        (
            "SELECT id, llm('p', product) a FROM (SELECT * FROM plain_rows ORDER BY id)",
            "the rows are in the order of a sort below",
        ),
        ("SELECT llm('p', m) a FROM plain_rows", "no field can be a key"),
        ("SELECT llm('Say hello') a FROM plain_rows", "no fields"),
        ("SELECT llm('p', 'constant') a FROM plain_rows", "no field can be a key"),
    ],
)
def test_no_exchange_says_why(spark, tables, sql, reason):
    frame = spark.sql(sql)
    (chosen, *_) = calls(frame)
    assert chosen.exchange == f"none ({reason})"
    assert chosen.dedup == "task"
    assert "LLMProbe" not in plan(frame)


def test_streaming_has_no_exchange(spark, tmp_path):
    spark.range(5).selectExpr("concat('x', id) x").write.parquet(str(tmp_path / "in"))
    stream = spark.readStream.schema("x STRING").parquet(str(tmp_path / "in"))
    query = (
        stream.selectExpr("llm('p', x) a")
        .writeStream.format("memory")
        .queryName("streamed")
        .trigger(availableNow=True)
        .start()
    )
    query.awaitTermination()
    explained = query._jsq.explainInternal(False)
    assert "exchange=none (streaming)" in explained
    assert spark.table("streamed").count() == 5


def test_same_fields_and_other_instructions_share_exchange_and_sort(spark, tables):
    frame = spark.sql(
        """SELECT id, llm('Is it good?', review, upper(product), stars) a, llm('Is it bad?', stars, upper(product), review) b
           FROM plain_rows WHERE llm('Is it new?', upper(product), review, stars) < 'fake:8'"""
    )
    frame.collect()
    found = calls(frame)
    assert [c.exchange.endswith("(shared)") for c in found] == [True, True, False]
    assert {c.order for c in found} == {"upper(product), stars, review"}
    assert plan(frame).count("Exchange ") == 1
    assert plan(frame).count(" Sort [") == 1


def test_dedup_alone_moves_rows_without_clustering(spark, tables, off):
    off("reorderRows", "reorderFields")
    _, cost, (chosen,) = run(spark, "SELECT id, llm('p', product) a FROM plain_rows")
    assert chosen.exchange == "[product] (rows are moved for dedup only)"
    assert (cost.requests, cost.duplicate_rows) == (50, 950)


def test_few_rows_for_one_engine_are_read_by_one_task(spark, tables, conf):
    """Several tasks would each compute the prefixes that they have in common."""
    sql = "SELECT id, llm('p', review, product) a FROM plain_rows"
    frame = spark.sql(sql)
    gathered = sorted(map(tuple, frame.collect()))
    assert "Coalesce 1" in plan(frame)
    assert [c.exchange.partition("(")[2] for c in calls(frame)] == [
        "few rows for one engine: one task orders them together)"
    ]
    conf("spark.llm.planner.windowRows", "999")  # of 1000 rows
    frame = spark.sql(sql)
    assert sorted(map(tuple, frame.collect())) == gathered
    assert "Coalesce" not in plan(frame)


def test_number_of_partitions_can_be_set(spark, tables, conf):
    conf("spark.llm.exchange.partitions", "7")
    frame = spark.sql(Q.format("analyzed"))
    assert "hashpartitioning(product" in plan(frame)
    assert ", 7), REPARTITION_BY_NUM" in plan(frame)
    frame.collect()
    assert ", 7), REPARTITION_BY_NUM" in plan(frame)


def test_small_shuffles_are_not_merged_into_one_task(spark, tables, conf):
    conf("spark.sql.adaptive.coalescePartitions.parallelismFirst", "false")
    conf("spark.llm.exchange.partitions", "4")
    assert spark.sql("SELECT llm('p', product, id) a FROM plain_rows").rdd.getNumPartitions() == 4


def test_an_aggregate_above_may_use_the_exchange(spark, tables):
    sql = "SELECT product, count(DISTINCT a) n FROM (SELECT product, id, llm('p', product, stars) a FROM {}) GROUP BY product"
    ours, cost, (chosen,) = run(spark, sql.format("analyzed"))
    assert chosen.exchange.partition(" (")[0] == "[product]"
    assert cost.requests == 50  # stars follow from the product
    plain = "SELECT product, count(DISTINCT stars) n FROM plain_rows GROUP BY product"
    assert ours == sorted(tuple(map(str, r)) for r in spark.sql(plain).collect())


def test_global_sort_above_asks_once(spark, tables):
    ordered = spark.sql("SELECT DISTINCT product, llm('p', product) a FROM analyzed ORDER BY a, product")
    rows = ordered.collect()
    assert [r.a for r in rows] == sorted(r.a for r in rows)
    (cost,) = metrics.last_query(spark)
    assert cost.rows in {50, 1000}
    assert cost.requests == 50


def test_cached_frames_keep_their_answers(spark, tables):
    frame = spark.sql(Q.format("plain_rows")).cache()
    try:
        first = sorted(frame.collect())
        spark.sql("SELECT 1").collect()
        assert sorted(frame.collect()) == first
        assert frame.where("a < 'fake:8'").count() == sum(r.a < "fake:8" for r in first)
    finally:
        frame.unpersist()


@pytest.mark.parametrize("strategy", ["BROADCAST", "MERGE", "SHUFFLE_HASH"])
def test_joins(spark, tables, strategy):
    sql = """SELECT /*+ {}(b) */ a.id, llm('p', a.review, b.product) x FROM plain_rows a JOIN analyzed b ON a.id = b.id
             WHERE llm('q', b.product) < 'fake:8'"""
    ours, cost, _ = run(spark, sql.format(strategy))
    assert ours == run(spark, sql.format("BROADCAST"))[0]
    assert cost.requests == 50 + len(ours)
