"""models => 'small,large' in SQL: two endpoints with a fake engine each, from the option to EXPLAIN."""

import json
import threading

import pytest
from pyspark.errors import PySparkException

from spark_llm import functions as LF
from spark_llm import metrics
from spark_llm.engine.fake import FakeEngine
from spark_llm.engine.fake_rules import Rule
from spark_llm.engine.fake_server import FakeServer

pytestmark = pytest.mark.spark

ASK = "SELECT x, llm('Which?', x{}) a FROM of_models"
RULES = {
    "small": (Rule.of("hard", "could be either, wrong"), Rule.of("easy", "plain")),
    "large": (Rule.of("hard", "right"), Rule.of("easy", "plain")),
}


@pytest.fixture(scope="module")
def endpoints():
    servers = {name: FakeServer(FakeEngine(rules)) for name, rules in RULES.items()}
    for server in servers.values():
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield {name: f"http://127.0.0.1:{server.server_address[1]}/v1" for name, server in servers.items()}
    for server in servers.values():
        server.shutdown()
        server.server_close()


@pytest.fixture
def two(spark, conf, endpoints):
    spark.sql("""CREATE OR REPLACE TEMP VIEW of_models AS
                 SELECT if(id % 4 = 0, concat('hard ', id), concat('easy ', id)) x,
                        if(id % 4 = 0, 'right', 'plain') truth FROM range(0, 160, 1, 2)""")
    conf("spark.llm.engine.kind", "vllm")
    for name, endpoint in endpoints.items():
        conf(f"spark.llm.models.{name}.endpoint", endpoint)
    return endpoints


def test_the_model_is_chosen_row_by_row(spark, conf, two, tmp_path):
    conf("spark.llm.reasoning.dir", str(tmp_path))
    sql = ASK.format(", models => 'small,large', labels => truth, provenance => true")
    frame = spark.sql(sql)
    planned = "Models: small for all rows, large where it pays (policy cascade): "
    assert f"{planned}decided by a pilot at run time" in frame._jdf.queryExecution().toString()
    found = {row.x: row.a for row in frame.collect()}
    cost, told = metrics.total(metrics.last_query(spark)), metrics.explain_last(spark)
    right = sum(a.value == ("right" if "hard" in x else "plain") for x, a in found.items())
    assert right >= 156
    for a in found.values():
        name = "large" if a.value == "right" else "small" if "wrong" in a.value else None
        assert name is None or a.provenance.model == f"{two[name]}#{name}"
    by_large = sum("#large" in a.provenance.model for a in found.values())
    assert 36 <= by_large == cost.rows_answered_by_the_costly_model < 80
    assert 0 < cost.tokens_of_the_costly_model < cost.generated_tokens
    assert f"{by_large} of 160 questions answered by large" in told
    assert f"large {cost.tokens_of_the_costly_model}" in told
    assert "pilot of 50 rows: gain +" in told
    (kept,) = tmp_path.glob("*.json")
    assert json.loads(kept.read_text())["choice"] == "per_row"
    again = spark.sql(sql)
    assert f"{planned}remembered from an earlier run: per row" in again._jdf.queryExecution().toString()
    again.collect()
    second = metrics.total(metrics.last_query(spark))
    assert second.tokens_of_the_costly_model < cost.tokens_of_the_costly_model


def test_stored_answers_are_those_of_both_models(spark, conf, two, tmp_path):
    conf("spark.llm.cache.enabled", "true")
    conf("spark.llm.cache.dir", str(tmp_path))
    few = spark.table("of_models").where("x LIKE '% 1_'")
    both = LF.llm("Which?", "x", models=["small", "large"], provenance=True).alias("a")
    asked = few.select(both).collect()
    stored = few.select(both).collect()
    assert metrics.total(metrics.last_query(spark)).rows_from_cache == len(stored) == len(asked) == 10
    assert {(r.a.provenance.source, r.a.provenance.model) for r in stored} == {("cache", None)}
    assert sorted(r.a.value for r in stored) == sorted(r.a.value for r in asked)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ("models => 'small'", "two different names, the cheap model first"),
        ("models => 'small,small'", "two different names, the cheap model first"),
        ("models => 'a,b,c'", "two different names, the cheap model first"),
        ("models => 'small,large', model => 'small'", "beside model => 'small'"),
        ("models => 'small,large', reasoning => 'auto'", "beside reasoning => 'auto'"),
        ("models => 'here,there'", "at least one with spark.llm.models.NAME.endpoint"),
    ],
)
def test_planning_errors(spark, two, options, why):
    with pytest.raises(PySparkException) as error:
        spark.sql(ASK.format(f", {options}"))._jdf.queryExecution().executedPlan()
    assert error.value.getCondition() == "LLM_INVALID_OPTION"
    assert why in str(error.value)


def test_no_more_than_one_thing_is_chosen_row_by_row(spark, conf, two):
    conf("spark.llm.reasoning.mode", "auto")
    with pytest.raises(PySparkException, match=r"spark\.llm\.reasoning\.mode is auto") as error:
        spark.sql(ASK.format(", models => 'small,large'")).collect()
    assert error.value.getCondition() == "LLM_INVALID_OPTION"
