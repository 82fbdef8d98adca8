"""What each rule of the planner did with a call, why it did nothing, and how many questions that left."""

import re

import pytest

from spark_llm import metrics

pytestmark = pytest.mark.spark

YES = "< 'fake:8'"
SAMPLED = "temperature => 1"


@pytest.fixture(scope="module", autouse=True)
def tables(spark):
    spark.sql(
        """CREATE OR REPLACE TEMP VIEW a AS SELECT CAST(id AS INT) id, concat('x', id % 10) x,
           CAST(id % 100 AS INT) c FROM range(0, 200, 1, 2)"""
    )
    spark.sql(
        "CREATE OR REPLACE TEMP VIEW b AS SELECT CAST(id AS INT) id, concat('z', id % 4) z FROM range(0, 20, 1, 2)"
    )
    spark.sql("CREATE OR REPLACE TEMP VIEW big AS SELECT CAST(id % 50 AS INT) id FROM range(0, 9000, 1, 2)")
    spark._jvm.org.apache.spark.sql.llm.PredicateHistory.clear()


def requests(spark):
    """Questions of each call of the last query, from the top of the plan down."""
    return [call.requests for call in metrics.last_query(spark)]


def text(frame):
    return frame._jdf.queryExecution().executedPlan().toString()


REASONS = {
    "sampled over a join": (
        f"SELECT q.id, q.s FROM (SELECT id, llm('p', x, {SAMPLED}) s FROM a) q JOIN b ON q.id = b.id",
        "HoistCalls not applied: sampling without a seed: the join may repeat rows, and each would be a draw of its own",
    ),
    "sampled predicate over a join": (
        f"SELECT q.id FROM (SELECT * FROM a WHERE llm('p', x, {SAMPLED}) {YES}) q JOIN b ON q.id = b.id",
        "MoveFilters not applied: sampling without a seed: the join may repeat rows, and each would be a draw of its own",
    ),
    "cross join": (
        f"SELECT * FROM (SELECT * FROM a WHERE llm('p', x) {YES}) q CROSS JOIN b",
        "MoveFilters not applied: the join has no equality: it repeats rows and hardly drops any",
    ),
    "larger other side": (
        f"SELECT * FROM (SELECT * FROM b WHERE llm('p', z) {YES}) q JOIN big ON q.id = big.id",
        "MoveFilters not applied: the other side is more than 10 times larger and would repeat the rows of this one",
    ),
    "outer join keeps": (
        f"SELECT * FROM (SELECT * FROM a WHERE llm('p', x) {YES}) q LEFT JOIN b ON q.id = b.id",
        "MoveFilters not applied: a LEFT OUTER join drops no row of this side",
    ),
    "outer join fills": (
        f"SELECT * FROM b LEFT JOIN (SELECT * FROM a WHERE llm('p', x) {YES}) q ON q.id = b.id",
        "MoveFilters not applied: a LEFT OUTER join would let through rows that the predicate drops",
    ),
    "predicate on the answer": (
        f"SELECT * FROM (SELECT id, llm('p', x) s FROM a) WHERE s {YES}",
        "MoveFilters not applied: predicate reads the answer",
    ),
    "random predicate above": (
        f"SELECT * FROM (SELECT id FROM a WHERE llm('p', x) {YES}) WHERE rand() < 0.5",
        "MoveFilters not applied: predicate is not deterministic",
    ),
    "random argument": (
        f"SELECT * FROM (SELECT id FROM a WHERE llm('p', struct(rand() AS r)) {YES}) q JOIN b ON q.id = b.id",
        "MoveFilters not applied: predicate is not deterministic",
    ),
    "sort needs it": (
        "SELECT id, llm('p', x) s FROM a ORDER BY s LIMIT 3",
        "HoistCalls not applied: the sort needs the answer",
    ),
    "join needs it": (
        "SELECT * FROM (SELECT id, llm('p', x) s FROM a) q JOIN b ON q.s = b.z",
        "HoistCalls not applied: the join needs the answer",
    ),
    "sampled twice": (
        f"SELECT llm('p', x, {SAMPLED}) s FROM a UNION ALL SELECT llm('p', x, {SAMPLED}) FROM a",
        "ShareCalls not applied: sampling without a seed: each row is a draw of its own",
    ),
    "few rows": (
        f"SELECT id FROM a WHERE llm('p', x) {YES} UNION ALL SELECT c FROM a WHERE llm('p', x) {YES} LIMIT 2",
        "ShareCalls not applied: a LIMIT above needs few of the rows",
    ),
    "guarded and not": (
        "SELECT if(c < 10, llm('p', x), 'n') s, llm('p', x) r FROM a",
        "Guards not applied: the same call stands without a condition",
    ),
    "guarded": (
        "SELECT if(c < 10, llm('p', x), 'n') s FROM a",
        "Guards applied: spares rows whose answer cannot matter",
    ),
    "after cheap": (f"SELECT id FROM a WHERE llm('p', x) {YES} AND c < 10", "IsolateCalls applied: runs after (a.c < 10)"),
    "after cheap above": (
        f"SELECT id FROM (SELECT id, c, llm('p', x) s FROM a) WHERE s {YES} AND c < 10",
        "MoveFilters applied: cheaper predicates run first",
    ),
    "over a join": (
        f"SELECT q.id FROM (SELECT * FROM a WHERE llm('p', x) {YES}) q JOIN b ON q.id = b.id",
        "MoveFilters applied: runs after the join",
    ),
    "over a limit": ("SELECT sum(length(s)) FROM (SELECT llm('p', x) s FROM a LIMIT 3)", "HoistCalls applied: runs after the LIMIT"),
    "same fields": ("SELECT llm('p', x, id), llm('q', id, x) FROM a", "ShareCalls applied: 2 calls over the same fields share one pass"),
}  # fmt: skip


@pytest.mark.parametrize("name", REASONS)
def test_reasons(spark, decisions, name):
    sql, expected = REASONS[name]
    assert expected in decisions(spark.sql(sql))


SWITCHED_OFF = {
    "moveFilters": (
        f"SELECT * FROM (SELECT id, llm('p', x) s FROM a) q JOIN b ON q.id = b.id "
        f"WHERE llm('q', q.id) {YES} AND llm('r', q.id) {YES}",
        {"MoveFilters", "OrderPredicates", "HoistCalls"},
    ),
    "shareCalls": (
        "SELECT llm('p', x) s FROM a UNION ALL SELECT llm('p', x) FROM a",
        {"ShareCalls"},
    ),
}


@pytest.mark.parametrize("switch", SWITCHED_OFF)
def test_switched_off(spark, decisions, conf, switch):
    sql, rules = SWITCHED_OFF[switch]
    conf(f"spark.llm.{switch}.enabled", "false")
    noted = decisions(spark.sql(sql))
    assert {f"{rule} not applied: switched off by spark.llm.{switch}.enabled" for rule in rules} <= set(noted)
    assert not [line for line in noted if line.split()[0] in rules and " not applied: " not in line]


def test_notes_are_no_part_of_a_call(spark, decisions):
    frame = spark.sql(f"SELECT id, llm('p', x) s FROM a WHERE llm('p', x) {YES}")
    assert "ShareCalls applied: the answer is used again further up" in decisions(frame)
    assert "applied" not in text(frame)


@pytest.mark.parametrize("adaptive", ["true", "false"])
def test_shared_copies_run_once(spark, conf, adaptive):
    spark.conf.set("spark.sql.adaptive.enabled", adaptive)
    try:
        frame = spark.sql(
            "WITH q AS (SELECT id, x, llm('p', id) s FROM a) "
            "SELECT l.id, r.s, l.s FROM q l JOIN q r ON l.id = r.id + 1"
        )
        frame.collect()
        assert requests(spark) == [200]
        assert "ReusedExchange" in text(frame)
        conf("spark.llm.shareCalls.enabled", "false")
        conf("spark.llm.moveFilters.enabled", "false")
        frame = spark.sql(
            "WITH q AS (SELECT id, x, llm('p', id) s FROM a) "
            "SELECT l.id, r.s, l.s FROM q l JOIN q r ON l.id = r.id + 1"
        )
        frame.collect()
        assert sum(requests(spark)) == 400
    finally:
        spark.conf.unset("spark.sql.adaptive.enabled")


def test_copies_with_other_rows_are_asked_about_either(spark):
    frame = spark.sql(
        f"SELECT id FROM a WHERE c < 20 AND llm('p', id) {YES} "
        f"UNION ALL SELECT c FROM a WHERE c BETWEEN 10 AND 29 AND llm('p', id) {YES}"
    )
    frame.collect()
    assert requests(spark) == [60]


def test_cached_tables(spark, decisions):
    spark.sql("CACHE TABLE answered_and_cached AS SELECT id, x, llm('p', id) s FROM a")
    try:
        twice = spark.sql("SELECT l.s FROM answered_and_cached l JOIN answered_and_cached r ON l.id = r.id")
        assert len(twice.collect()) == 200
        assert sum(requests(spark)) == 0
        union = spark.sql(
            f"SELECT id FROM answered_and_cached WHERE llm('p', id) {YES} UNION ALL "
            "SELECT id FROM answered_and_cached WHERE llm('p', id) >= 'fake:8'"
        )
        assert (
            "ShareCalls not applied: adaptive execution does not reuse shuffles over a cached table"
            in decisions(union)
        )
        assert len(union.collect()) == 200
    finally:
        spark.sql("UNCACHE TABLE answered_and_cached")


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [(0.1, 0.9, "p"), (0.9, 0.1, "q"), (0.5, 0.5, "p")],
    ids=["first", "second", "tie"],
)
def test_selectivity_orders_predicates(spark, decisions, first, second, expected):
    frame = spark.sql(
        f"SELECT id FROM a WHERE llm('p', id, selectivity => {first}) {YES} "
        f"AND llm('q', id, selectivity => {second}) {YES}"
    )
    kept = len(frame.collect())
    later, earlier = requests(spark)
    assert earlier == 200
    assert kept < later < 200
    lowest = re.findall(r"LLMEval \[llm\('(\w)'", text(frame))[-1]
    assert lowest == expected
    smaller, larger = sorted((first, second))
    assert (
        "OrderPredicates applied: ordered by cost/(1-selectivity): "
        f"132/(1-{smaller:.2f}) before 132/(1-{larger:.2f}), selectivity from option"
    ) in decisions(frame)


def test_three_predicates(spark):
    frame = spark.sql(
        f"SELECT id FROM a WHERE llm('p', id, selectivity => 0.8) {YES} AND llm('q', id, selectivity => 0.5) {YES} "
        f"AND llm('r', id, selectivity => 0.2) {YES}"
    )
    assert re.findall(r"LLMEval \[llm\('(\w)'", text(frame)) == ["p", "q", "r"]


def test_shorter_answers_come_first(spark):
    frame = spark.sql(
        "SELECT id FROM a WHERE llm('p', id) = 'Yes' AND llm('q', id, return_type => 'BOOLEAN')"
    )
    assert re.findall(r"LLMEval \[llm\('(\w)'", text(frame)) == ["p", "q"]


def test_statistics_of_a_table_count(spark):
    spark.sql("CREATE TABLE sized USING parquet AS SELECT id, x, repeat('long ', 200) l FROM a")
    try:
        sql = f"SELECT id FROM sized WHERE llm('p', l, id) {YES} AND llm('q', x, id) {YES}"
        assert re.findall(r"LLMEval \[llm\('(\w)'", text(spark.sql(sql))) == ["q", "p"]
        spark.sql("ANALYZE TABLE sized COMPUTE STATISTICS FOR ALL COLUMNS")
        assert re.findall(r"LLMEval \[llm\('(\w)'", text(spark.sql(sql))) == ["p", "q"]
    finally:
        spark.sql("DROP TABLE sized")


def test_earlier_queries_order_predicates(spark, decisions):
    both = "SELECT id FROM a WHERE llm('many', id) > 'fake:1' AND llm('few0', id) < 'fake:1'"
    assert "selectivity assumed" in str(decisions(spark.sql(both)))
    spark.sql("SELECT id FROM a WHERE llm('many', id) > 'fake:1'").collect()
    spark.sql("SELECT id FROM a WHERE llm('few0', id) < 'fake:1' LIMIT 5").collect()
    metrics.last_query(spark)  # waits for the listeners
    frame = spark.sql(both)
    assert "selectivity from history" in str(decisions(frame))
    assert re.findall(r"LLMEval \[llm\('(\w+)'", text(frame)) == ["many", "few0"]


def test_option_selectivity_is_no_part_of_the_question(spark):
    spark.sql("SELECT llm('p', id), llm('p', id, selectivity => 0.3) FROM a").collect()
    assert requests(spark) == [200]


STREAMS = {
    "filters": f"SELECT id, llm('r', x) r FROM stream WHERE llm('p', x) {YES} AND c < 50 AND llm('q', id) {YES}",
    "join": f"SELECT q.id FROM (SELECT * FROM stream WHERE llm('p', x) {YES}) q JOIN b ON q.id = b.id",
    "union": f"SELECT id, x FROM stream WHERE llm('p', x) {YES} UNION ALL SELECT id, llm('p', x) FROM stream",
}


@pytest.mark.parametrize("name", STREAMS)
def test_streams(spark, tmp_path, name):
    spark.table("a").coalesce(1).write.json(str(tmp_path / "in"))
    stream = spark.readStream.schema("id INT, x STRING, c INT").json(str(tmp_path / "in"))
    stream.createOrReplaceTempView("stream")
    query = (
        spark.sql(STREAMS[name])
        .writeStream.format("memory")
        .queryName("streamed")
        .trigger(availableNow=True)
        .start()
    )
    assert query.awaitTermination(120)
    plan = query._jsq.streamingQuery().lastExecution().executedPlan().toString()
    streamed = sorted(map(tuple, spark.table("streamed").collect()))
    spark.table("a").createOrReplaceTempView("stream")
    assert streamed == sorted(map(tuple, spark.sql(STREAMS[name]).collect()))
    assert streamed
    assert "REBALANCE" not in plan
    if name == "join":
        assert plan.index("HashJoin") < plan.index("LLMEval")
