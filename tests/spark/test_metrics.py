"""What a query cost is shown where Spark users look: the SQL tab and the REST API."""

import json
from urllib.request import urlopen

import pytest

from spark_llm import metrics

pytestmark = pytest.mark.spark

NAMES = {
    "rows",
    "duplicate rows",
    "requests",
    "prompt tokens",
    "cached prompt tokens",
    "generated tokens",
    "retries",
    "failed rows",
    "rows skipped by condition",
    "engine wait",
}


@pytest.fixture
def query(spark):
    spark.sql(
        "SELECT if(id < 30, llm(repeat('Is it good? ', 20), id % 20), 'no') FROM range(0, 100, 1, 1)"
    ).collect()


def test_rest_api(spark, query):
    cost = metrics.last_query(spark)  # waits until the listeners have seen the query
    address = f"{spark.sparkContext.uiWebUrl}/api/v1/applications/{spark.sparkContext.applicationId}/sql"
    with urlopen(f"{address}?details=true&length=1000") as answer:
        last = json.load(answer)[-1]
    node = next(n for n in last["nodes"] if n["nodeName"] == "LLMEval")
    values = {m["name"]: m["value"] for m in node["metrics"]}
    assert values.keys() >= NAMES
    assert values["requests"] == str(cost[0].requests) == "20"
    assert values["rows"] == "100"


def test_counts(spark, query):
    (call,) = metrics.last_query(spark)
    assert (call.rows, call.rows_skipped_by_condition, call.requests) == (100, 70, 20)
    assert call.prompt_tokens > call.cached_prompt_tokens > 0
    assert call.generated_tokens > 0


def test_a_query_without_calls_has_none(spark):
    spark.range(3).collect()
    assert metrics.last_query(spark) == []
