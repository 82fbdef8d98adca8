"""spark.llm.budget: the query succeeds, what was answered is kept, what was not is NULL and says why."""

import importlib.util
from pathlib import Path

import pytest

from spark_llm import from_exception, metrics

pytestmark = pytest.mark.spark

_spec = importlib.util.spec_from_file_location(
    "budget_texts", Path(__file__).parents[1] / "core/test_budget_conf.py"
)
texts = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(texts)

ROWS = "SELECT id, llm('ECHO', concat('row number ', id), max_tokens => 32{}) a FROM range(0, 2000, 1, 4)"


def spent(cost):
    return cost.prompt_tokens + cost.generated_tokens


def test_past_the_budget_rows_are_null_and_the_query_succeeds(spark, conf):
    conf("spark.llm.budget", "50ktok")
    rows = spark.sql(ROWS.format("")).collect()
    (call,) = metrics.last_query(spark)
    answered = [r for r in rows if r.a is not None]
    assert len(rows) == len({r.id for r in rows}) == 2000
    assert all(f"row number {r.id}" in r.a for r in answered)
    assert 0 < len(answered) == call.requests < 2000
    assert call.rows_over_budget == 2000 - len(answered)
    assert call.failed_rows == 0
    assert 50_000 * 0.97 <= spent(call) <= 50_000 * 1.02


def test_rows_say_why_in_a_struct(spark, conf):
    conf("spark.llm.budget", "20ktok")
    rows = spark.sql(ROWS.format(", on_error => 'struct'")).collect()
    conditions = {r.a.error.condition for r in rows if r.a.error is not None}
    assert conditions == {"LLM_BUDGET_EXCEEDED"}
    assert any("20ktok" in r.a.error.message for r in rows if r.a.error is not None)
    assert any(r.a.value is not None for r in rows)


def test_the_calls_of_a_query_share_it_and_the_next_query_has_its_own(spark, conf):
    conf("spark.llm.budget", "20ktok")
    sql = "SELECT llm('ECHO a', id, max_tokens => 32) a, llm('ECHO b', id, max_tokens => 32) b FROM range(0, 2000, 1, 2)"
    for _ in range(2):
        spark.sql(sql).collect()
        total = metrics.total(metrics.last_query(spark))
        assert 20_000 * 0.95 <= spent(total) <= 20_000 * 1.02


def test_call_upon_call_does_not_wait_for_itself(spark, conf):
    conf("spark.llm.budget", "30ktok")
    sql = """SELECT llm('ECHO', a, max_tokens => 64) b
             FROM (SELECT llm('ECHO', id, max_tokens => 64) a FROM range(0, 3000, 1, 2))"""
    assert len(spark.sql(sql).collect()) == 3000
    assert spent(metrics.total(metrics.last_query(spark))) <= 30_000 * 1.02


def test_fail(spark, conf):
    conf("spark.llm.budget", "20ktok")
    conf("spark.llm.budget.onExceeded", "fail")
    with pytest.raises(Exception, match=r"\[LLM_BUDGET_EXCEEDED\].*20ktok") as raised:
        spark.sql(ROWS.format(", on_error => 'null'")).collect()
    error = from_exception(raised.value)
    assert (error.condition, error.sqlstate) == ("LLM_BUDGET_EXCEEDED", "53400")


def test_enough_changes_nothing(spark, conf):
    conf("spark.llm.budget", "5Mtok")
    rows = spark.sql(ROWS.format("")).collect()
    assert all(r.a is not None for r in rows)
    assert metrics.last_query(spark)[0].rows_over_budget == 0


def test_dollars(spark, conf):
    conf("spark.llm.price.prompt", "2")
    conf("spark.llm.price.cached", "0.5")
    conf("spark.llm.price.answer", "10")
    conf("spark.llm.budget", "0.1usd")
    spark.sql(ROWS.format("")).collect()
    (call,) = metrics.last_query(spark)
    fresh = call.prompt_tokens - call.cached_prompt_tokens
    dollars = (2 * fresh + 0.5 * call.cached_prompt_tokens + 10 * call.generated_tokens) / 1e6
    assert call.rows_over_budget > 0
    assert 0.1 * 0.95 <= dollars <= 0.1 * 1.02


@pytest.mark.reliability(
    "spark.llm.budget in usd without prices", "LLM_INVALID_CONF at planning, names what to set"
)
def test_dollars_without_prices_fail_at_planning(spark, conf):
    conf("spark.llm.budget", "20usd")
    conf("spark.llm.price.prompt", "2")
    with pytest.raises(Exception, match=r"LLM_INVALID_CONF.*spark\.llm\.price\.answer"):
        spark.sql("SELECT llm('p', id) FROM range(3)")._jdf.queryExecution().optimizedPlan()


def test_the_jvm_reads_the_same_texts(spark):
    budget = spark._jvm.org.apache.spark.sql.llm.Budget
    for text, expected in texts.GOOD.items():
        if expected.unit != "usd":
            read = budget.of(spark._jvm.PythonUtils.toScalaMap({"spark.llm.budget": text})).get()
            assert (read.amount(), read.unit()) == tuple(expected), text


@pytest.mark.parametrize("text", texts.BAD)
def test_the_jvm_refuses_the_same_texts_in_the_same_words(spark, conf, text):
    from spark_llm.conf import parse_conf
    from spark_llm.errors import SparkLLMError

    conf("spark.llm.budget", text)
    with pytest.raises(SparkLLMError) as ours:
        parse_conf({"spark.llm.budget": text})
    with pytest.raises(Exception, match="LLM_INVALID_CONF") as raised:
        spark.sql("SELECT llm('p', id) FROM range(3)").collect()
    assert from_exception(raised.value).message == ours.value.message


def test_explain_shows_budget_and_what_was_spent(spark, conf):
    conf("spark.llm.budget", "20ktok")
    frame = spark.sql(ROWS.format(""))
    plan = "\n".join(r.plan for r in spark.sql("EXPLAIN EXTENDED " + ROWS.format("")).collect())
    assert "budget         20ktok for the query, spark.llm.budget\n" in plan
    frame.collect()
    (line,) = (line for line in metrics.explain_last(spark).splitlines() if line.strip().startswith("budget"))
    assert "tok spent" in line
    assert "over the budget" in metrics.explain_last(spark)


def test_without_sql_execution(spark, conf):
    conf("spark.llm.budget", "20ktok")
    values = [r.a for r in spark.sql(ROWS.format("")).rdd.collect()]
    assert len(values) == 2000
    assert 0 < sum(v is not None for v in values) < 2000
