"""Answers are kept while a query runs, and later queries pay only for what is missing."""

import json
import re

import pyarrow.parquet as pq
import pytest
from test_query_shapes import SHAPES, rows, tables, written  # noqa: F401

from spark_llm import metrics

pytestmark = pytest.mark.spark

SHAPE_NAMES = [name for name in SHAPES if name != "recursive"]


@pytest.fixture
def cache(conf, tmp_path):
    """A folder of its own for one test, switched on."""
    conf("spark.llm.cache.enabled", "true")
    conf("spark.llm.cache.dir", str(tmp_path / "cache"))
    return tmp_path / "cache"


def total(spark):
    return metrics.total(metrics.last_query(spark))


def run(spark, sql):
    # what was learned from one run may change the order of predicates in the next
    spark._jvm.org.apache.spark.sql.llm.PredicateHistory.clear()
    found = rows(spark.sql(sql))
    return found, total(spark)


def files(folder):
    return sorted(folder.glob("call=*/part-*.parquet"))


# A sixth of the shapes: what differs between the others is done by rules that have run before the cache's.
@pytest.mark.parametrize("name", SHAPE_NAMES[::6])
def test_shapes_are_the_same_cold_warm_and_off(spark, tables, conf, cache, name):  # noqa: F811
    sql = written(SHAPES[name][0], "llm")
    conf("spark.llm.cache.enabled", "false")
    off, plain = run(spark, sql)
    conf("spark.llm.cache.enabled", "true")
    cold, first = run(spark, sql)
    warm, second = run(spark, sql)
    assert cold == off
    assert warm == off
    assert first.requests <= plain.requests
    assert second.requests == 0
    assert (second.rows_from_cache > 0) == (first.requests > 0)


@pytest.mark.parametrize("adaptive", ["true", "false"])
def test_more_stored_than_memory_holds_is_joined_by_spark(spark, conf, cache, adaptive):
    conf("spark.llm.cache.broadcastMaxSize", "1")
    conf("spark.sql.adaptive.enabled", adaptive)
    spark.sql(
        "SELECT llm('p', id % 50 AS k) FROM range(100)".replace("id % 50 AS k", "struct(id % 50 AS k)")
    ).collect()
    sql = "SELECT id, llm('p', struct(id % 60 AS k)) a FROM range(0, 300, 1, 3)"
    frame = spark.sql(sql)
    assert "LookUpAnswers" not in frame._jdf.queryExecution().optimizedPlan().toString()
    found = rows(frame)
    assert (total(spark).requests, total(spark).rows_from_cache) == (10, 250)
    conf("spark.llm.cache.enabled", "false")
    assert rows(spark.sql(sql)) == found


TYPES = {
    "STRING": 'a "quoted" ünï ☃ text, with\nlines',
    "BOOLEAN": True,
    "TINYINT": -7,
    "SMALLINT": 300,
    "INT": -123456,
    "BIGINT": 1234567890123456789,
    "FLOAT": 0.1,
    "DOUBLE": 1.0e-17,
    "DECIMAL(30,10)": "12345678901234567890.0123456789",
    "DATE": "0001-02-03",
    "TIMESTAMP": "2024-03-31T02:30:00.123456",
    "TIMESTAMP_NTZ": "1931-12-01T23:59:59.999999",
    "ARRAY<STRING>": ["a", "", "null", "b,c"],
    "ARRAY<DOUBLE>": [0.1, -2.5],
    "MAP<STRING, INT>": {"a": 1, "b c": 2},
    "STRUCT<topic: STRING, at: TIMESTAMP, n: ARRAY<INT>>": {
        "topic": "x", "at": "2024-03-31T02:30:00.123456", "n": [1, 2],
    },
    "STRUCT<d: DATE, m: DECIMAL(20,3), t: TIMESTAMP_NTZ, b: BOOLEAN>": {
        "d": "2024-02-29", "m": 12345.678, "t": "2024-01-01T00:00:00.000001", "b": False,
    },
}  # fmt: skip


@pytest.mark.parametrize("zone", ["UTC", "America/Los_Angeles"])
@pytest.mark.parametrize("ddl", TYPES)
def test_answers_of_every_type_come_back_as_they_were(spark, conf, cache, tmp_path, ddl, zone):
    conf("spark.sql.session.timeZone", zone)
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps([{"when": "p", "answer": TYPES[ddl]}]))
    conf("spark.llm.fake.answers", str(rules))
    sql = f"SELECT llm('p', id, return_type => '{ddl}') a FROM range(3)"
    first = spark.sql(sql).collect()
    assert total(spark).requests == 3
    assert first[0].a is not None
    assert spark.sql(sql).collect() == first
    assert total(spark).requests == 0


def test_users_can_query_the_files(spark, cache):
    spark.sql("SELECT llm('p', id) a FROM range(0, 20, 1, 2)").collect()
    stored = spark.sql(f"SELECT * FROM parquet.`{cache}`")
    assert stored.count() == 20
    row = stored.first()
    assert row.answer.startswith("fake:")
    assert row.model == "fake:"
    assert row.instruction is None
    assert row.fields is None
    assert row.prompt_tokens > 0
    assert stored.selectExpr("count_if(created_at > now() - INTERVAL 1 HOUR) n").first().n == 20


def test_a_task_whose_answers_are_all_stored_needs_no_worker(spark, conf, cache):
    sql = "SELECT id, CASE WHEN id < 15 THEN llm('p', id) END a FROM range(0, 20, 1, 2)"
    first, _ = run(spark, sql)
    conf("spark.sql.execution.pyspark.python", "/no/such/python")
    again, cost = run(spark, sql)
    assert (again, cost.rows, cost.rows_from_cache) == (first, 20, 15)


def test_prompts_are_kept_only_where_asked_for(spark, conf, cache):
    conf("spark.llm.logPrompts.enabled", "true")
    spark.sql("SELECT llm(concat('p', id), struct(id AS n, 'x' AS t)) a FROM range(2)").collect()
    kept = spark.sql(f"SELECT instruction, fields FROM parquet.`{cache}` ORDER BY instruction").collect()
    assert [tuple(row) for row in kept] == [("p0", '{"n":0,"t":"x"}'), ("p1", '{"n":1,"t":"x"}')]


def test_fields_are_a_set_and_their_order_is_no_part_of_the_key(spark, cache):
    first, _ = run(spark, "SELECT llm('p', struct(id AS a), struct(id + 1 AS b)) FROM range(10)")
    second, cost = run(spark, "SELECT llm('p', struct(id + 1 AS b), struct(id AS a)) FROM range(10)")
    assert (second, cost.requests) == (first, 0)


def test_passages_in_any_order_are_one_question(spark, conf, cache):
    run(spark, "SELECT llm('p', any_order(struct('u' AS p1, 'v' AS p2))) FROM range(1)")
    _, cost = run(spark, "SELECT llm('p', any_order(struct('v' AS p1, 'u' AS p2))) FROM range(1)")
    assert cost.requests == 0


DIFFERENT = {
    "instruction": "llm('q', x)",
    "name of a field": "llm('p', struct(x AS y))",
    "another field": "llm('p', x, 1)",
    "text or number": "llm('p', struct(CAST(x AS STRING) AS x))",
    "type": "llm('p', x, return_type => 'BOOLEAN')",
    "temperature": "llm('p', x, temperature => 0.5, seed => 1)",
    "seed": "llm('p', x, seed => 1)",
    "longest answer": "llm('p', x, max_tokens => 5)",
    "model": "llm('p', x, model => 'other')",
    "value": "llm('p', struct(x + 100 AS x))",
    "missing value": "llm('p', struct(if(x < 5, NULL, x + 100) AS x))",
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_another_question_is_asked(spark, cache, name):
    source = "(SELECT CAST(id AS INT) x FROM range(1, 10))"
    spark.sql(f"SELECT llm('p', x) FROM {source}").collect()
    spark.sql(f"SELECT {DIFFERENT[name]} FROM {source}").collect()
    assert total(spark).rows_from_cache == 0
    assert total(spark).requests > 0


@pytest.mark.parametrize(
    ("key", "value"), [("systemPrompt", "Be brief."), ("maxAnswerLen", "9"), ("fake.fail", "nothing")]
)
def test_another_setting_is_another_question(spark, conf, cache, key, value):
    sql = "SELECT llm('p', id) FROM range(10)"
    spark.sql(sql).collect()
    conf(f"spark.llm.{key}", value)
    spark.sql(sql).collect()
    assert total(spark).requests == 10


def test_settings_that_change_no_answer_are_no_part_of_the_key(spark, conf, cache):
    sql = "SELECT llm('p', id, selectivity => {}) FROM range(10)"
    spark.sql(sql.format(0.1)).collect()
    conf("spark.llm.batchRows", "3")
    conf("spark.llm.planner.policy", "original")
    spark.sql(sql.format(0.9)).collect()
    assert total(spark).requests == 0


def test_draws_are_not_kept(spark, cache, decisions):
    frame = spark.sql("SELECT llm('p', id, temperature => 1) a FROM range(10)")
    assert "CacheAnswers not applied: temperature > 0 without a seed" in decisions(frame)
    frame.collect()
    assert files(cache) == []


def test_one_call_is_left_out(spark, cache, decisions):
    sql = "SELECT llm('p', id, cache => false) a, llm('q', id) b FROM range(10)"
    frame = spark.sql(sql)
    assert "CacheAnswers not applied: cache => false" in decisions(frame)
    first = rows(frame)
    assert len({path.parent for path in files(cache)}) == 1
    again, cost = run(spark, sql)
    assert (again, cost.requests, cost.rows_from_cache) == (first, 10, 10)
    # what another call has kept is not looked up either
    run(spark, sql.replace(", cache => false", ""))
    assert run(spark, sql)[1].requests == 10


def test_one_call_takes_part_where_the_session_says_no(spark, conf, cache):
    conf("spark.llm.cache.enabled", "false")
    sql = "SELECT llm('p', id, cache => true) a, llm('q', id) b FROM range(10)"
    first, _ = run(spark, sql)
    again, cost = run(spark, sql)
    assert (again, cost.requests, cost.rows_from_cache) == (first, 10, 10)
    assert len({path.parent for path in files(cache)}) == 1


def test_draws_cannot_be_kept(spark, cache):
    with pytest.raises(Exception, match=r"LLM_INVALID_OPTION.*temperature 0 or a seed"):
        spark.sql("SELECT llm('p', id, temperature => 1, cache => true) FROM range(10)")
    spark.sql("SELECT llm('p', id, temperature => 1, seed => 1, cache => true) FROM range(10)")


def test_failures_are_asked_again(spark, conf, cache):
    sql = "SELECT id, llm('p', id, on_error => 'struct') a FROM range(10)"
    conf("spark.llm.fake.fail", '"id": 3')
    spark.sql(sql).collect()
    assert total(spark).failed_rows == 1
    again = spark.sql(sql).collect()
    assert total(spark).requests <= 1
    assert total(spark).rows_from_cache == 9
    assert [row.id for row in again if row.a.error is not None] == [3]
    assert all(row.a.value.startswith("fake:") for row in again if row.id != 3)


def test_modes_of_on_error_share_answers(spark, cache):
    plain = spark.sql("SELECT llm('p', id) a FROM range(10)").collect()
    struct = spark.sql("SELECT llm('p', id, on_error => 'struct') a FROM range(10)").collect()
    assert total(spark).requests == 0
    assert [row.a.value for row in struct] == [row.a for row in plain]


def test_old_answers_are_asked_again(spark, conf, cache):
    sql = "SELECT llm('p', id) FROM range(10)"
    spark.sql(sql).collect()
    conf("spark.llm.cache.ttl", "1h")
    spark.sql(sql).collect()
    assert total(spark).requests == 0
    conf("spark.llm.cache.ttl", "0s")
    spark.sql(sql).collect()
    assert total(spark).requests == 10


@pytest.mark.reliability("two stored answers to one question", "one of them is taken, no row twice")
def test_an_answer_stored_twice_counts_once(spark, conf, cache):
    sql = "SELECT id, llm('p', struct(id % 5 AS k)) a FROM range(0, 20, 1, 2)"
    expected = rows(spark.sql(sql))
    (first, *_) = files(cache)
    (first.parent / "part-again.parquet").write_bytes(first.read_bytes())
    for limit in ("1g", "1"):
        conf("spark.llm.cache.broadcastMaxSize", limit)
        assert rows(spark.sql(sql)) == expected
        assert total(spark).requests == 0


@pytest.mark.reliability("a stored file that is cut off", "its answers are asked again")
def test_a_damaged_file_is_as_good_as_none(spark, cache):
    sql = "SELECT llm('p', id) FROM range(0, 20, 1, 2)"
    expected = rows(spark.sql(sql))
    whole = files(cache)
    for path in whole:
        path.with_name(f".{path.name}.crc").unlink(missing_ok=True)
        path.write_bytes(path.read_bytes()[:100])
    assert rows(spark.sql(sql)) == expected
    assert total(spark).requests == 20


@pytest.mark.reliability(
    "a cache folder that is deleted while a query is planned", "everything is asked again"
)
@pytest.mark.parametrize("limit", ["1g", "1"], ids=["broadcast", "joined"])
def test_files_that_vanish_are_asked_again(spark, conf, cache, limit):
    conf("spark.llm.cache.broadcastMaxSize", limit)
    sql = "SELECT llm('p', id) FROM range(0, 20, 1, 2)"
    expected = rows(spark.sql(sql))
    frame = spark.sql(sql)
    frame._jdf.queryExecution().executedPlan()
    for path in files(cache):
        path.unlink()
    assert rows(frame) == expected
    assert total(spark).requests == 20


@pytest.mark.reliability("a cache folder that cannot be written", "LLM_CACHE_NOT_WRITABLE at planning")
def test_unwritable_folder_fails_at_planning(spark, conf, cache, tmp_path):
    (tmp_path / "file").write_text("")
    conf("spark.llm.cache.dir", str(tmp_path / "file"))
    with pytest.raises(Exception, match="LLM_CACHE_NOT_WRITABLE") as failed:
        spark.sql("SELECT llm('p', id) FROM range(3)").collect()
    assert "Set spark.llm.cache.dir" in str(failed.value)


def test_explain_runs_nothing_and_makes_nothing(spark, cache):
    text = spark.sql("EXPLAIN SELECT llm('p', id) FROM range(3)").first()[0]
    assert "CacheAnswers: nothing is stored yet; answers are kept" in text
    assert not cache.exists()


def test_explain_says_what_came_from_the_cache(spark, cache):
    spark.sql("SELECT llm('p', id) FROM range(6)").collect()
    spark.sql("SELECT llm('p', id) FROM range(10)").collect()
    text = metrics.explain_last(spark)
    assert "-> 10, 6 from the cache" in text
    assert "CacheAnswers: stored answers are looked up first" in text


def test_limit_and_guards(spark, cache):
    sql = "SELECT CASE WHEN id < 5 THEN llm('p', id) END a FROM range(0, 20, 1, 1)"
    first, cost = run(spark, sql)
    assert cost.requests == 5
    second, cost = run(spark, sql)
    assert (second, cost.requests, cost.rows_from_cache, cost.rows_skipped_by_condition) == (first, 0, 5, 15)
    spark.sql("SELECT llm('p', id) a FROM range(0, 1000, 1, 1) LIMIT 8").collect()
    assert total(spark).requests == 3


def test_streams_use_the_cache_batch_by_batch(spark, cache, tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    spark.range(0, 10, 1, 1).write.parquet(str(source))
    spark.sql("SELECT llm('p', id) a FROM range(5)").collect()
    stream = spark.readStream.schema("id LONG").parquet(str(source)).selectExpr("id", "llm('p', id) a")
    query = stream.writeStream.format("parquet").option("checkpointLocation", str(tmp_path / "check"))
    query.trigger(availableNow=True).start(str(target)).awaitTermination()
    assert len({row.a for row in spark.read.parquet(str(target)).collect()}) == 10
    assert sum(pq.read_metadata(path).num_rows for path in files(cache)) == 10
    assert run(spark, "SELECT llm('p', id) a FROM range(10)")[1].requests == 0


def test_nothing_but_whole_files_is_left(spark, cache):
    spark.sql("SELECT llm('p', id) FROM range(0, 100, 1, 4)").collect()
    names = [p.name for p in cache.rglob("*") if p.is_file() and not p.name.endswith(".crc")]
    assert names
    assert all(re.fullmatch(r"part-[0-9a-f-]{36}\.parquet", name) for name in names)
