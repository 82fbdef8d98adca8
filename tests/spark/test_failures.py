"""Many rows fail: the job stops when spark.llm.errors.maxFailedRatio says so, and spark.llm.errors.table keeps them."""

import json
import time

import pytest

from spark_llm import from_exception, metrics

pytestmark = pytest.mark.spark

BAD_THIRD = "if(id % 3 = 0, concat('BOOM ', id), concat('row ', id))"


@pytest.fixture
def failing(conf):
    conf("spark.llm.fake.fail", "BOOM")


def ask(rows, text=BAD_THIRD, tasks=2, more=""):
    return f"""SELECT id, llm('ECHO', struct({text} AS text), on_error => 'null'{more}) a
               FROM range(0, {rows}, 1, {tasks})"""


@pytest.mark.reliability(
    "more rows fail than spark.llm.errors.maxFailedRatio allows",
    "LLM_TOO_MANY_FAILURES with the most frequent errors",
)
def test_too_many_failures_stop_the_job_and_say_which(spark, conf, failing):
    conf("spark.llm.errors.maxFailedRatio", "0.2")
    with pytest.raises(Exception, match="LLM_TOO_MANY_FAILURES") as raised:
        spark.sql(ask(3000)).collect()
    error = from_exception(raised.value)
    assert error.sqlstate == "54000"
    assert "maxFailedRatio=0.2" in error.message
    assert "x LLM_REQUEST_REJECTED: The engine refused this row" in error.message


def test_it_stops_long_before_the_end(spark, conf, failing):
    conf("spark.llm.errors.maxFailedRatio", "0.2")
    with pytest.raises(Exception, match="LLM_TOO_MANY_FAILURES") as raised:
        spark.sql(ask(100_000)).collect()
    rows = int(from_exception(raised.value).message.split(" of ")[1].split()[0].replace(",", ""))
    assert rows < 50_000


def test_as_many_as_allowed_are_allowed(spark, conf, failing):
    conf("spark.llm.errors.maxFailedRatio", "0.34")
    rows = spark.sql(ask(300)).collect()
    assert sum(r.a is None for r in rows) == 100


def test_few_rows_are_judged_when_all_are_there(spark, conf, failing):
    conf("spark.llm.errors.maxFailedRatio", "0.25")
    assert (
        len(spark.sql(ask(20, "if(id < 5, concat('BOOM ', id), concat('row ', id))", tasks=3)).collect())
        == 20
    )
    with pytest.raises(Exception, match="6 of 20 rows failed"):
        spark.sql(ask(20, "if(id < 6, concat('BOOM ', id), concat('row ', id))", tasks=3)).collect()


def test_rows_over_the_budget_are_no_failures(spark, conf):
    conf("spark.llm.errors.maxFailedRatio", "0")
    conf("spark.llm.budget", "10ktok")
    rows = spark.sql(ask(1000, "concat('row ', id)", more=", max_tokens => 16")).collect()
    assert len(rows) == 1000
    assert metrics.last_query(spark)[0].rows_over_budget > 0


@pytest.mark.parametrize("value", ["1.5", "-0.1", "many"])
@pytest.mark.reliability("spark.llm.errors.maxFailedRatio outside of 0 to 1", "LLM_INVALID_CONF")
def test_a_ratio_outside_of_0_to_1_is_refused(spark, conf, value):
    conf("spark.llm.errors.maxFailedRatio", value)
    with pytest.raises(Exception, match=r"LLM_INVALID_CONF.*maxFailedRatio"):
        spark.sql(ask(3)).collect()


def test_failed_rows_are_kept_without_their_text(spark, conf, failing, tmp_path):
    conf("spark.llm.errors.table", f"{tmp_path}/errors")
    spark.sql(ask(30)).collect()
    kept = spark.read.parquet(f"{tmp_path}/errors").collect()
    assert len(kept) == 10
    assert {r.condition for r in kept} == {"LLM_REQUEST_REJECTED"}
    assert {r.fields for r in kept} == {None}
    assert {r.application for r in kept} == {spark.sparkContext.applicationId}
    assert len({(r.query, r.call) for r in kept}) == 1
    assert all(r.message == "The engine refused this row: ...." or "..." in r.message for r in kept)
    assert not list((tmp_path / "errors").glob("_*"))


def test_with_log_prompts_fields_and_messages_are_kept(spark, conf, failing, tmp_path):
    conf("spark.llm.errors.table", f"{tmp_path}/errors")
    conf("spark.llm.logPrompts.enabled", "true")
    spark.sql(ask(30)).collect()
    kept = spark.read.parquet(f"{tmp_path}/errors").collect()
    assert sorted(json.loads(r.fields)["text"] for r in kept) == sorted(f"BOOM {i}" for i in range(0, 30, 3))
    assert all("spark.llm.fake.fail" in r.message for r in kept)


def test_an_answer_is_not_quoted_unless_prompts_are_logged(spark, conf, tmp_path):
    answers = tmp_path / "answers.json"
    answers.write_text(json.dumps([{"when": "row 1", "answer": "PRIVATE words"}]))
    conf("spark.llm.fake.answers", str(answers))
    conf("spark.llm.errors.table", f"{tmp_path}/errors")
    sql = "SELECT llm('p', concat('row ', id), return_type => 'INT', on_error => 'null') FROM range(3)"
    spark.sql(sql).collect()
    (row,) = spark.read.parquet(f"{tmp_path}/errors").collect()
    assert row.condition == "LLM_OUTPUT_INVALID"
    assert "not a valid INT: it is not JSON" in row.message
    assert "It is of length 13." in row.message
    assert "PRIVATE" not in row.message


def test_a_query_that_fails_leaves_its_errors(spark, conf, failing, tmp_path):
    conf("spark.llm.errors.table", f"{tmp_path}/errors")
    with pytest.raises(Exception, match="LLM_REQUEST_REJECTED"):
        spark.sql("SELECT llm('ECHO', 'BOOM')").collect()
    assert [r.condition for r in spark.read.parquet(f"{tmp_path}/errors").collect()] == [
        "LLM_REQUEST_REJECTED"
    ]


def test_failed_rows_are_appended_to_a_table(spark, conf, failing):
    conf("spark.llm.errors.table", "kept_errors")
    spark.sql("DROP TABLE IF EXISTS kept_errors")
    for times in (1, 2):
        spark.sql(ask(30)).collect()
        until = time.monotonic() + 60  # the driver appends after the query's end
        while time.monotonic() < until:
            if spark.catalog.tableExists("kept_errors") and spark.table("kept_errors").count() == 10 * times:
                break
            time.sleep(0.2)
        assert spark.table("kept_errors").count() == 10 * times
    spark.sql("DROP TABLE kept_errors")


@pytest.mark.reliability("spark.llm.errors.table names a folder that cannot be made", "LLM_FILE_NOT_WRITTEN")
def test_a_folder_that_cannot_be_made_fails_before_anything_is_asked(spark, conf, tmp_path):
    (tmp_path / "file").write_text("")
    conf("spark.llm.errors.table", f"{tmp_path}/file/errors")
    with pytest.raises(Exception, match="LLM_FILE_NOT_WRITTEN"):
        spark.sql(ask(3)).collect()
