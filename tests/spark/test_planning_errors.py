"""Wrong calls fail before anything runs, with a condition, a SQLSTATE and a hint."""

import pytest
from pyspark.errors import AnalysisException

pytestmark = pytest.mark.spark

WRONG = {
    "llm()": ("LLM_MISSING_INSTRUCTION", "42605"),
    "llm(model => 'm')": ("LLM_MISSING_INSTRUCTION", "42605"),
    "llm('p', x, modle => 'm')": ("LLM_UNKNOWN_OPTION", "4274K"),
    "llm('p', review => x)": ("LLM_UNKNOWN_OPTION", "4274K"),
    "llm('p', x, model => x)": ("LLM_OPTION_NOT_CONSTANT", "42K08"),
    "llm('p', x, model => '')": ("LLM_INVALID_OPTION", "22023"),
    "llm('p', x, return_type => 'NOT A TYPE <')": ("LLM_INVALID_OPTION", "22023"),
    "llm('p', x, return_type => 'BINARY')": ("LLM_INVALID_OPTION", "22023"),
    "llm('p', x, return_type => 'MAP<INT, STRING>')": ("LLM_INVALID_OPTION", "22023"),
    "llm('p', x, return_type => 'STRUCT<a: INT, a: INT>')": ("LLM_INVALID_OPTION", "22023"),
    "llm('p', x, on_error => 'ignore')": ("LLM_INVALID_OPTION", "22023"),
    "llm('p', x, temperature => 'warm')": ("LLM_INVALID_OPTION", "22023"),
    "llm('p', x, temperature => 2.5)": ("LLM_INVALID_OPTION", "22023"),
    "llm('p', x, temperature => -1)": ("LLM_INVALID_OPTION", "22023"),
    "llm('p', x, max_tokens => 0)": ("LLM_INVALID_OPTION", "22023"),
    "llm('p', x, seed => 'a')": ("LLM_INVALID_OPTION", "22023"),
    "llm('p', x, first_fields => array('y'))": ("LLM_INVALID_OPTION", "22023"),
    "llm('p', x, first_fields => array('x', 'x'))": ("LLM_INVALID_OPTION", "22023"),
    "llm('p', x, first_fields => array('x'), last_fields => array('X'))": ("LLM_INVALID_OPTION", "22023"),
    "llm('p', x, last_fields => array(x))": ("LLM_OPTION_NOT_CONSTANT", "42K08"),
    "llm('p', any_order(x, 'y'), first_fields => array('x'))": ("LLM_INVALID_OPTION", "22023"),
    "llm('p', any_order(x, 'y'), last_fields => array('VALUE'))": ("LLM_INVALID_OPTION", "22023"),
    "any_order(x, x)": ("LLM_MISPLACED_ANY_ORDER", "42601"),
    "llm('p', any_order(x, any_order(x, x)))": ("LLM_MISPLACED_ANY_ORDER", "42601"),
    "concat(any_order(x, x), 'y')": ("LLM_MISPLACED_ANY_ORDER", "42601"),
    "llm(1, x)": ("LLM_INVALID_OPTION", "22023"),
    "llm(array('p'), x)": ("LLM_INVALID_OPTION", "22023"),
    "transform(array(1), e -> llm('p', e))": ("LLM_UNSUPPORTED", "0A000"),
}

QUERIES = {
    "SELECT a.x FROM t a LEFT JOIN t b ON llm('p', a.x, b.x) = 'y'": ("LLM_UNSUPPORTED", "0A000"),
    "SELECT a.x FROM t a FULL JOIN t b ON a.x = b.x AND llm('p', a.x, b.x) = 'y'": (
        "LLM_UNSUPPORTED",
        "0A000",
    ),
    "SELECT x FROM t a WHERE EXISTS (SELECT 1 FROM t b WHERE llm('p', a.x, b.x) = 'y')": (
        "LLM_UNSUPPORTED",
        "0A000",
    ),
    "SELECT x, (SELECT max(llm('p', a.x)) FROM t b WHERE a.x = b.x) FROM t a": ("LLM_UNSUPPORTED", "0A000"),
}


@pytest.fixture(scope="module")
def table(spark):
    spark.sql("CREATE OR REPLACE TEMP VIEW t AS SELECT concat('x', id) x FROM range(3)")


def check(error, condition, state):
    assert error.getCondition() == condition
    assert error.getSqlState() == state
    assert f"[{condition}]" in str(error)
    assert "Hint: " in str(error)
    assert f"SQLSTATE: {state}" in str(error)


@pytest.mark.parametrize("call", WRONG)
def test_wrong_arguments(spark, table, call):
    with pytest.raises(AnalysisException) as raised:
        spark.sql(f"SELECT {call} FROM t")
    check(raised.value, *WRONG[call])


@pytest.mark.parametrize("sql", QUERIES)
def test_places_without_a_plan(spark, table, sql):
    with pytest.raises(AnalysisException) as raised:
        spark.sql(sql).collect()
    check(raised.value, *QUERIES[sql])


def test_nearest_name_is_offered(spark, table):
    with pytest.raises(AnalysisException, match="Did you mean return_type"):
        spark.sql("SELECT llm('p', x, returntype => 'INT') FROM t")


def test_unknown_conf(spark, table, conf):
    conf("spark.llm.modle", "m")
    with pytest.raises(AnalysisException, match="Did you mean spark.llm.model") as raised:
        spark.sql("SELECT llm('p', x) FROM t").collect()
    check(raised.value, "LLM_UNKNOWN_CONF", "22023")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("engine.kind", "gpu"),
        ("batchRows", "0"),
        ("batchBytes", "big"),
        ("moveFilters.enabled", "maybe"),
        ("planner.policy", "best"),
        ("exchange.partitions", "0"),
    ],
)
def test_wrong_conf(spark, table, conf, key, value):
    conf(f"spark.llm.{key}", value)
    with pytest.raises(AnalysisException) as raised:
        spark.sql("SELECT llm('p', x) FROM t WHERE llm('q', x) = 'y'").collect()
    check(raised.value, "LLM_INVALID_CONF", "22023")


def test_no_model(spark, table, conf):
    conf("spark.llm.engine.kind", "vllm")
    with pytest.raises(AnalysisException) as raised:
        spark.sql("SELECT llm('p', x) FROM t").collect()
    check(raised.value, "LLM_MODEL_NOT_SET", "42704")


def test_explain_needs_no_model_and_asks_nobody(spark, table, conf):
    conf("spark.llm.engine.kind", "vllm")
    conf("spark.llm.model", "/no/such/model")
    plan = spark.sql("EXPLAIN SELECT llm('p', 'literal') FROM t").head()[0]
    assert "LLMEval [llm('p', value=literal) AS llm" in plan


def test_wrong_field_name_lists_the_fields(spark, table):
    with pytest.raises(AnalysisException, match="out of: x, value"):
        spark.sql("SELECT llm('p', x, 'constant', first_fields => array('y')) FROM t")


def test_fields_in_any_order_cannot_be_pinned(spark, table):
    expected = "not of those in any_order, each once and in one option only, out of: value"
    with pytest.raises(AnalysisException, match=expected):
        spark.sql("SELECT llm('p', 'v', any_order(x, concat(x, 'y')), first_fields => array('x')) FROM t")
    spark.sql("SELECT llm('p', 'v', any_order(x, concat(x, 'y')), first_fields => array('value')) FROM t")


def described(spark, function):
    lines = [r[0] for r in spark.sql(f"DESCRIBE FUNCTION EXTENDED {function}").collect()]
    return "\n".join(line.rstrip() for line in "\n".join(lines).splitlines()) + "\n"


@pytest.mark.parametrize("function", ["llm", "try_llm", "any_order"])
def test_describe_function(spark, golden, function):
    golden(f"describe_function_{function}.txt", described(spark, function))


def test_the_functions_are_listed(spark):
    assert [r[0] for r in spark.sql("SHOW FUNCTIONS LIKE '*llm*'").collect()] == ["llm", "try_llm"]


def test_try_llm_cannot_be_told_to_fail(spark, table):
    with pytest.raises(AnalysisException, match="allowed is 'null' | 'struct'") as caught:
        spark.sql("SELECT try_llm('p', x, on_error => 'fail') FROM t")
    assert caught.value.getCondition() == "LLM_INVALID_OPTION"
    with pytest.raises(AnalysisException, match="try_llm"):
        spark.sql("SELECT try_llm('p', x, on_eror => 'null') FROM t")
