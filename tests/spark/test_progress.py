"""Progress of real queries: counts while they run, the line in Python, silence where there is nothing to say."""

import json
import threading

import pytest
from slow_engine import slow_engine

from spark_llm import metrics, progress
from spark_llm.progress.follow import reader_of

pytestmark = pytest.mark.spark

ROWS = "SELECT id, concat('review ', id % 90) review FROM range(0, 100, 1, 2)"
ASK = f"SELECT llm('Is it good?', review) a FROM ({ROWS})"


@pytest.fixture
def slow(conf):
    """A hundred rows in eight tasks, one request at a time, each 60 ms: at least two seconds for two cores."""
    with slow_engine(0.06) as entries:
        for key, value in {
            **entries,
            "spark.llm.exchange.partitions": "8",
            "spark.llm.limits.maxConcurrentRequests": "1",
        }.items():
            conf(key, value)
        yield


def snapshot(spark, version=-1, wait_ms=0):
    return json.loads(reader_of(spark)(version, wait_ms))


def collect(spark, sql, into):
    try:
        into.append(len(spark.sql(sql).collect()))
    except Exception as error:  # noqa: BLE001  the test looks at it
        into.append(error)


def test_counts_grow_and_the_total_is_counted(spark, slow):
    done, seen = [], []
    query = threading.Thread(target=collect, args=(spark, ASK, done))
    before = {query["id"] for query in snapshot(spark)["queries"]}
    query.start()
    while query.is_alive():
        seen += [each for each in snapshot(spark, wait_ms=50)["queries"] if each["id"] not in before]
    metrics.last_query(spark)
    (last,) = [each for each in snapshot(spark)["queries"] if each["id"] not in before]
    assert done == [100]
    running = [each["calls"][0] for each in seen if each["ended_ms"] is None]
    answered = [call["metrics"]["outputRows"] for call in running]
    assert answered == sorted(answered)
    assert any(0 < count < 100 for count in answered)
    known = [call for call in running if call["rows_exact"]]
    assert known
    assert {call["rows_expected"] for call in known} == {100}
    # the exchange and the call count a row's bytes alike
    assert all(0 <= call["metrics"]["outputBytes"] <= call["bytes_expected"] for call in known)
    (call,) = last["calls"]
    assert last["ended_ms"] is not None
    assert not last["failed"]
    assert call["metrics"]["outputRows"] == 100
    assert call["metrics"]["requests"] == 90
    assert call["metrics"]["outputBytes"] == known[-1]["bytes_expected"]


def test_the_line_is_drawn_within_a_watch(spark, slow, capsys):
    with progress.watch(spark):
        spark.sql(ASK).collect()
    said = capsys.readouterr().err
    assert "/100 prompts" in said
    assert "call 1/1  100 % · 100 prompts · " in said
    assert " · done in 0:0" in said


def test_false_keeps_it_silent(spark, slow, conf, capsys):
    conf("spark.llm.progress.enabled", "false")
    with progress.watch(spark):
        spark.sql(ASK).collect()
    assert "call 1/1" not in capsys.readouterr().err


def test_queries_without_a_call_are_not_there(spark):
    spark.sql(f"SELECT llm('Is it good?', review) FROM ({ROWS}) LIMIT 1").collect()
    metrics.last_query(spark)
    before = [query["id"] for query in snapshot(spark)["queries"]]
    spark.sql("SELECT count(*) FROM range(100)").collect()
    metrics.last_query(spark)
    assert [query["id"] for query in snapshot(spark)["queries"]] == before


def test_a_query_that_failed_says_so(spark, conf):
    conf("spark.llm.fake.fail", "review 7")
    with pytest.raises(Exception, match="LLM_REQUEST_REJECTED"):
        spark.sql(ASK).collect()
    metrics.last_query(spark)
    assert snapshot(spark)["queries"][-1]["failed"]


def test_a_table_made_of_answers_is_one_query(spark):
    spark.sql(f"CREATE TABLE answers_progress USING parquet AS {ASK}")
    try:
        metrics.last_query(spark)
        last = snapshot(spark)["queries"][-1]
        assert len(last["calls"]) == 1
        assert last["calls"][0]["metrics"]["outputRows"] == 100
    finally:
        spark.sql("DROP TABLE answers_progress")


def test_a_second_call_follows_the_first_through_its_filter(spark):
    spark.sql(
        f"SELECT llm('What is it about?', review) a FROM ({ROWS}) "
        "WHERE llm('Is it good?', review, return_type => 'BOOLEAN')"
    ).collect()
    metrics.last_query(spark)
    first, second = snapshot(spark)["queries"][-1]["calls"]
    assert first["metrics"]["outputRows"] == 100
    assert second["metrics"]["rows"] < 100
    assert (first["follows"], second["follows"]) == (None, 1)
