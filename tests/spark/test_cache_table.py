"""``spark.llm.cache.table``: finished answers move to a table that users can read, and are looked up there."""

import os
import time

import pytest

from spark_llm import from_exception, metrics

pytestmark = pytest.mark.spark

SQL = "SELECT id, llm('p', id) a FROM range(0, 20, 1, 2)"
COLUMNS = (
    "key_high BIGINT, key_low BIGINT, answer STRING, model STRING, revision STRING, instruction_hash STRING, "
    "instruction STRING, fields STRING, prompt_tokens BIGINT, generated_tokens BIGINT, created_at TIMESTAMP, call STRING"
)


@pytest.fixture
def cache(spark, conf, tmp_path):
    """A folder of its own and a table name of its own, switched on."""
    conf("spark.llm.cache.enabled", "true")
    conf("spark.llm.cache.dir", str(tmp_path / "cache"))
    conf("spark.llm.cache.table", "answers")
    yield tmp_path / "cache"
    settled(spark)
    spark.sql("DROP TABLE IF EXISTS answers")


def settled(spark):
    """Waits until what follows a query is done."""
    spark._jvm.org.apache.spark.sql.llm.CacheUpkeep.settle(spark._jsparkSession)


def run(spark, sql=SQL):
    found = sorted(map(tuple, spark.sql(sql).collect()))
    requests = metrics.total(metrics.last_query(spark)).requests
    settled(spark)
    return found, requests


def files(folder):
    return sorted(folder.glob("call=*/part-*.parquet"))


def grow_old(folder, hours=2):
    """Makes the files and markers of the folder older."""
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, (time.time() - 3600 * hours,) * 2)


def test_answers_move_to_the_table_and_are_found_there(spark, cache):
    first, requests = run(spark)
    assert requests == 20
    stored = spark.table("answers")
    assert ", ".join(f"{f.name} {f.dataType.simpleString().upper()}" for f in stored.schema) == COLUMNS
    assert sorted(row.answer for row in stored.collect()) == sorted(answer for _, answer in first)
    assert {f"call={row.call}" for row in stored.collect()} == {path.parent.name for path in files(cache)}
    assert files(cache), "a query that has listed them may still read them"
    grow_old(cache)
    assert run(spark) == (first, 0)
    assert files(cache) == []
    assert [path for path in cache.rglob("*") if path.is_file()] == []
    assert run(spark) == (first, 0)
    assert spark.table("answers").count() == 20


def test_moving_twice_adds_nothing_and_starts_nothing(spark, cache):
    run(spark)
    jobs = spark._jsc.sc().dagScheduler().nextJobId()
    run(spark, "SELECT 1")
    spark.table("answers").collect()
    settled(spark)
    after = spark._jsc.sc().dagScheduler().nextJobId()
    assert after - jobs <= 2, "only the two queries themselves"
    assert spark.table("answers").count() == 20


def test_only_what_is_missing_is_asked_and_added(spark, cache):
    run(spark)
    found, requests = run(spark, SQL.replace("20", "30"))
    assert (len(found), requests) == (30, 10)
    assert spark.table("answers").count() == 30


def test_an_answer_in_both_places_counts_once(spark, conf, cache):
    expected, _ = run(spark)
    for marker in cache.glob("_moved/*/*/*"):
        marker.unlink()
    for limit in ("1g", "1"):
        conf("spark.llm.cache.broadcastMaxSize", limit)
        assert run(spark) == (expected, 0)
    assert spark.table("answers").count() == 40
    # what the folder still has counts again when the table is gone
    spark.sql("DROP TABLE answers")
    assert run(spark) == (expected, 0)
    assert spark.table("answers").count() == 20


def test_users_trim_and_join_the_table(spark, cache):
    first, _ = run(spark)
    joined = spark.sql("SELECT count(*) n FROM answers a JOIN answers b USING (call, key_high, key_low)")
    assert joined.first().n == 20
    grow_old(cache)
    run(spark)
    spark.sql("CREATE TABLE kept AS SELECT * FROM answers LIMIT 15")
    spark.sql("INSERT OVERWRITE answers SELECT * FROM kept")
    spark.sql("DROP TABLE kept")
    assert run(spark) == (first, 5)


def test_a_call_over_the_table_itself(spark, conf, cache):
    run(spark)
    sql = "SELECT a.key_low, llm('p', struct(a.key_low AS id)) FROM answers a"
    first, requests = run(spark, sql)
    assert requests == 20
    known = ", ".join(str(key) for key, _ in first)
    for limit in ("1g", "1"):
        conf("spark.llm.cache.broadcastMaxSize", limit)
        assert run(spark, f"{sql} WHERE a.key_low IN ({known})") == (first, 0)


def test_the_time_to_live_holds_for_the_table(spark, conf, cache):
    run(spark)
    grow_old(cache)
    run(spark)
    conf("spark.llm.cache.ttl", "1h")
    assert run(spark)[1] == 0
    conf("spark.llm.cache.ttl", "0s")
    assert run(spark)[1] == 20


def test_a_table_of_the_user_with_other_columns_too(spark, conf, cache):
    conf("spark.llm.cache.table", "spark_catalog.default.answers")
    spark.sql(f"CREATE TABLE answers (note STRING, {COLUMNS.rsplit(', ', 1)[0]}, call STRING) USING json")
    first, _ = run(spark)
    grow_old(cache)
    run(spark)
    assert files(cache) == []
    assert run(spark) == (first, 0)
    assert spark.sql("SELECT count(*) n, count(note) FROM answers").first() == (20, 0)


@pytest.mark.parametrize(
    ("table", "columns", "told"),
    [
        ("answers", "answer STRING", "it has no column key_high BIGINT"),
        ("answers", COLUMNS.replace("created_at TIMESTAMP", "created_at STRING"), "created_at is STRING, not TIMESTAMP"),
        ("nowhere.answers", None, "there is no schema nowhere"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_hold_answers_fails_at_planning(spark, conf, cache, table, columns, told):
    conf("spark.llm.cache.table", table)
    if columns:
        spark.sql(f"CREATE TABLE {table} ({columns}) USING parquet")
    with pytest.raises(Exception, match="LLM_CACHE_TABLE_INVALID") as failed:
        spark.sql(SQL)._jdf.queryExecution().optimizedPlan()
    error = from_exception(failed.value)
    assert (error.condition, error.sqlstate) == ("LLM_CACHE_TABLE_INVALID", "42K09")
    assert told in str(failed.value)


def test_a_name_that_is_none(spark, conf, cache):
    conf("spark.llm.cache.table", "a b")
    with pytest.raises(Exception, match="LLM_INVALID_CONF"):
        spark.sql(SQL).collect()


def test_explain_makes_no_table(spark, cache):
    spark.sql(f"EXPLAIN {SQL}").collect()
    settled(spark)
    assert not spark.catalog.tableExists("answers")


def test_what_cannot_move_stays_and_moves_later(spark, conf, cache):
    first, _ = run(spark)
    spark.sql("DROP TABLE answers")
    conf("spark.llm.cache.table", "later")
    frame = spark.sql(SQL)
    frame._jdf.queryExecution().executedPlan()
    spark.sql("CREATE TABLE later (x INT) USING parquet")
    try:
        assert sorted(map(tuple, frame.collect())) == first
        settled(spark)
        assert len(files(cache)) > 0
        assert spark.table("later").count() == 0
        spark.sql("DROP TABLE later")
        assert run(spark) == (first, 0)
        assert spark.table("later").count() == 20
    finally:
        settled(spark)
        spark.sql("DROP TABLE IF EXISTS later")
