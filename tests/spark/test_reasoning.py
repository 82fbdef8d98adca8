"""reasoning => 'off' | 'on' | 'auto' in SQL, from the option to the answer, the metrics and EXPLAIN."""

import json

import pytest
from pyspark.errors import PySparkException

from spark_llm import functions as LF
from spark_llm import metrics

pytestmark = pytest.mark.spark

ASK = "SELECT id, x, llm('Which?', x{}) a FROM of_reasoning"
RULES = [
    {"when": "hard", "answer": "wrong", "reasoned": "right", "thinking": 30},
    {"when": "easy", "answer": "plain", "reasoned": "plain", "thinking": 20},
]


@pytest.fixture(scope="module", autouse=True)
def table(spark, tmp_path_factory):
    """400 rows in two partitions, every fourth hard; labels on half of them."""
    spark.sql("""CREATE OR REPLACE TEMP VIEW of_reasoning AS
                 SELECT id, if(id % 4 = 0, concat('hard ', id), concat('easy ', id)) x,
                        if(id % 2 = 0, if(id % 4 = 0, 'right', 'plain'), NULL) truth FROM range(0, 400, 1, 2)""")
    rules = tmp_path_factory.mktemp("rules") / "rules.json"
    rules.write_text(json.dumps(RULES))
    return str(rules)


@pytest.fixture(autouse=True)
def rules(conf, table):
    conf("spark.llm.fake.answers", table)


def asked(spark, options):
    rows = spark.sql(ASK.format(options)).collect()
    return {row.x: row.a for row in rows}, metrics.total(metrics.last_query(spark))


def right(found):
    return sum(a == ("right" if "hard" in x else "plain") for x, a in found.items())


def test_off_is_the_default_and_on_thinks(spark, conf):
    off, cost = asked(spark, "")
    assert right(off) == 300
    assert (cost.thinking_tokens, cost.rows_answered_with_reasoning) == (0, 0)
    assert "reasoning" not in metrics.explain_last(spark).lower()
    on, cost = asked(spark, ", reasoning => 'on'")
    assert right(on) == 400
    assert (cost.thinking_tokens, cost.rows_answered_with_reasoning) == (100 * 30 + 300 * 20, 400)
    assert "400 of 400 questions answered with reasoning (100 %)" in metrics.explain_last(spark)
    conf("spark.llm.reasoning.mode", "on")
    cut, cost = asked(spark, ", reasoning_budget => 25")
    assert right(cut) == 300
    assert cost.rows_with_thinking_cut_off == 100
    assert "100 had their thinking cut off" in metrics.explain_last(spark)


def test_auto_thinks_where_it_pays_and_remembers(spark, conf, tmp_path):
    conf("spark.llm.reasoning.dir", str(tmp_path))
    frame = spark.sql(ASK.format(", reasoning => 'auto', labels => truth, provenance => true"))
    assert "decided by a pilot at run time" in frame._jdf.queryExecution().toString()
    found = {row.x: row.a for row in frame.collect()}
    assert right({x: a.value for x, a in found.items()}) >= 390
    modes = {x: a.provenance.reasoning for x, a in found.items()}
    assert all(modes[x] == "on" for x, a in found.items() if a.value == "right")
    assert set(modes.values()) == {"off", "on"}
    (kept,) = tmp_path.glob("*.json")
    assert json.loads(kept.read_text())["choice"] == "per_row"
    cost = metrics.total(metrics.last_query(spark))
    told = metrics.explain_last(spark)
    assert "pilot of 50 rows: gain +" in told
    assert "saved against reasoning on every row" in told
    again = spark.sql(ASK.format(", reasoning => 'auto', labels => truth, provenance => true"))
    assert "remembered from an earlier run: per row" in again._jdf.queryExecution().toString()
    again.collect()
    assert metrics.total(metrics.last_query(spark)).generated_tokens < cost.generated_tokens


def test_stored_answers_do_not_cross_modes(spark, conf, tmp_path):
    conf("spark.llm.cache.enabled", "true")
    conf("spark.llm.cache.dir", str(tmp_path))
    off, _ = asked(spark, "")
    on, cost = asked(spark, ", reasoning => 'on'")
    assert (right(off), right(on), cost.rows_from_cache) == (300, 400, 0)
    again, cost = asked(spark, ", reasoning => 'on'")
    assert (right(again), cost.rows_from_cache) == (400, 400)


def test_calls_in_different_modes_are_two(spark):
    (row,) = spark.sql(
        "SELECT llm('Which?', x) off, llm('Which?', x, reasoning => 'on') on FROM of_reasoning WHERE id = 0"
    ).collect()
    assert (row.off, row.on) == ("wrong", "right")


def test_in_python(spark):
    frame = spark.table("of_reasoning").where("id < 8")
    (row,) = frame.where("id = 4").select(LF.llm("Which?", "x", reasoning="on").alias("a")).collect()
    assert row.a == "right"
    few = frame.select(LF.llm("Which?", "x", reasoning="auto", labels="truth").alias("a")).collect()
    assert len(few) == 8


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ("reasoning => 'maybe'", "'off' | 'on' | 'auto'"),
        ("reasoning_budget => 0", "a positive INT"),
        ("reasoning => 'off', reasoning_budget => 9", "'on' or 'auto' beside it"),
        ("reasoning => 'on', labels => truth", "reasoning => 'auto' beside it"),
    ],
)
def test_planning_errors(spark, options, why):
    with pytest.raises(PySparkException) as error:
        spark.sql(ASK.format(f", {options}"))
    assert error.value.getCondition() == "LLM_INVALID_OPTION"
    assert why in str(error.value)
