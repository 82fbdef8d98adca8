"""The page about a query, written by the driver when the query ends."""

import json
from pathlib import Path

import pytest

from spark_llm import metrics

pytestmark = pytest.mark.spark

ROWS = "SELECT id, concat('private ', id % 90) review, concat('city ', id % 4) city FROM range(0, 100, 1, 2)"
ASK = f"SELECT llm('Is it <script>good</script>?', review, city, on_error => 'null') a FROM ({ROWS}) WHERE id < 80"


@pytest.fixture
def folder(conf, tmp_path):
    conf("spark.llm.report.dir", str(tmp_path / "reports"))
    return tmp_path / "reports"


def page(spark):
    html = Path(metrics.last_report(spark))
    return html.read_text(encoding="utf-8"), json.loads(html.with_suffix(".json").read_text(encoding="utf-8"))


def test_page_and_data_of_a_query(spark, folder):
    spark.sql(ASK).collect()
    text, data = page(spark)
    assert sorted(path.suffix for path in folder.iterdir()) == [".html", ".json"]
    (call,) = data["calls"]
    cost = metrics.last_query(spark)[0]
    assert call["metrics"]["requests"] == cost.requests == 80
    assert call["rows_read"] == 100
    assert sum(level["tokens"] for level in call["profile"]["levels"]) == cost.prompt_tokens
    assert sum(level["reused_tokens"] for level in call["profile"]["levels"]) == cost.cached_prompt_tokens
    assert call["profile"]["levels"][0]["fields"] == {"instruction": 80}
    assert "== " not in data["explain"]
    assert "-> 80" in data["explain"]
    assert "80 rows → " in text.replace("<b>", "").replace("</b>", "")
    assert "<script" not in text
    assert "&lt;script&gt;good" in text


def test_no_value_of_a_row_is_in_it_unless_prompts_may_be_logged(spark, folder, conf):
    conf("spark.llm.fake.fail", "private 7")
    spark.sql(ASK).collect()
    text, data = page(spark)
    assert "private" not in text + json.dumps(data)
    assert "SELECT" not in text
    assert data["calls"][0]["conditions"] == {"LLM_REQUEST_REJECTED": 11}
    conf("spark.llm.logPrompts.enabled", "true")
    spark.sql(ASK).collect()
    text, data = page(spark)
    assert "city 3" in text
    (error,) = data["calls"][0]["errors"]
    assert "spark.llm.fake.fail" in error["message"]
    assert error["rows"] == 11


def test_a_query_that_failed_has_one_too(spark, folder, conf):
    conf("spark.llm.fake.fail", "private 7")
    with pytest.raises(Exception, match="LLM_REQUEST_REJECTED"):
        spark.sql(ASK.replace("'null'", "'fail'")).collect()
    text, data = page(spark)
    assert (data["failed"], data["condition"]) == (True, "LLM_REQUEST_REJECTED")
    assert "The query failed after" in text


def test_a_command_and_its_query_have_one_page(spark, folder):
    spark.sql(f"CREATE TABLE answers_report USING parquet AS {ASK}")
    try:
        metrics.last_report(spark)
        assert len(list(folder.glob("*.html"))) == 1
        spark.sql("SELECT * FROM answers_report").collect()
        metrics.last_report(spark)
        assert len(list(folder.glob("*.html"))) == 1
    finally:
        spark.sql("DROP TABLE answers_report")


def test_the_same_dataframe_twice_has_two(spark, folder):
    frame = spark.sql(ASK)
    frame.collect()
    frame.collect()
    metrics.last_report(spark)
    assert len(list(folder.glob("*.html"))) == 2


def test_without_a_folder_nothing_is_collected(spark, tmp_path):
    spark.sql(ASK).collect()
    metrics.last_report(spark)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_fails_no_query(spark, conf, tmp_path):
    (tmp_path / "file").write_text("")
    conf("spark.llm.report.dir", str(tmp_path / "file" / "reports"))
    assert len(spark.sql(ASK).collect()) == 80
    metrics.last_report(spark)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_query_with_a_mistake_in_it_is_none(spark, folder, capfd):
    with pytest.raises(Exception, match="UNRESOLVED_COLUMN"):
        spark.sql("SELECT llm('Is it good?', nothing)")
    metrics.last_report(spark)
    assert not folder.exists()
    assert "run report" not in capfd.readouterr().err
