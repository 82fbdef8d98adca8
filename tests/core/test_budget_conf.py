"""What spark.llm.budget may say; tests/spark/test_budget.py reads the same texts in the JVM."""

import pytest

from spark_llm.budget_conf import Budget, parse_budget
from spark_llm.conf import parse_conf
from spark_llm.errors import SparkLLMError

GOOD = {
    "5Mtok": Budget(5e6, "tok"),
    "500ktok": Budget(5e5, "tok"),
    "1.5Gtok": Budget(1.5e9, "tok"),
    "800 tok": Budget(800, "tok"),
    " 2MTOK ": Budget(2e6, "tok"),
    "20usd": Budget(20, "usd"),
    "0.25USD": Budget(0.25, "usd"),
    "30min": Budget(1800, "s"),
    "90s": Budget(90, "s"),
    "2h": Budget(7200, "s"),
}
BAD = (
    "5000000",
    "5",
    "",
    "Mtok",
    "-5Mtok",
    "0tok",
    "0.0usd",
    "5Mtoken",
    "5eur",
    "1e6tok",
    "5Mtok 20usd",
    ".5usd",
    "5m",
)


@pytest.mark.parametrize("text", GOOD)
def test_amount_and_unit(text):
    assert parse_budget(text) == GOOD[text]


@pytest.mark.parametrize("text", BAD)
@pytest.mark.reliability(
    "spark.llm.budget without an amount or a unit, such as 5000000", "LLM_INVALID_CONF at planning"
)
def test_anything_else_is_refused_with_what_is_allowed(text):
    with pytest.raises(SparkLLMError, match="5Mtok, 1.5Gtok, 20usd, 90s, 30min or 2h") as raised:
        parse_conf({"spark.llm.budget": text})
    assert raised.value.condition == "LLM_INVALID_CONF"
