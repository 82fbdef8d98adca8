"""What times and sizes may say; tests/spark/test_conf_texts.py reads the same texts in the JVM."""

import pytest

from spark_llm.conf import parse_conf
from spark_llm.errors import SparkLLMError

TIME, SIZE = "spark.llm.cache.ttl", "spark.llm.cache.broadcastMaxSize"
TIMES = {
    "250ms": 0.25,
    "600s": 600.0,
    "30": 30.0,
    "2.5": 2.5,
    "0": 0.0,
    "0.5s": 0.5,
    "1.5h": 5400.0,
    "10min": 600.0,
    "5m": 300.0,
    "7d": 604800.0,
    " 12 H ": 43200.0,
}
NO_TIMES = ("soon", "", "s", "-1s", ".5s", "1.s", "1e3s", "5 weeks", "100us", "2h 30min", "1,5h")
SIZES = {
    "512": 512,
    "64k": 65536,
    "8 MB": 8 << 20,
    "2GiB": 2 << 30,
    " 1t ": 1 << 40,
    "7b": 7,
}
NO_SIZES = ("0", "8x", "-1", "", "k", "1.5g", "1p", "8 m b", "1e6")


@pytest.mark.parametrize("text", TIMES)
def test_times_in_seconds(text):
    assert parse_conf({TIME: text}).number(TIME) == TIMES[text]


@pytest.mark.parametrize("text", SIZES)
def test_sizes_in_bytes(text):
    assert parse_conf({SIZE: text}).integer(SIZE) == SIZES[text]


@pytest.mark.parametrize(("key", "text"), [(TIME, t) for t in NO_TIMES] + [(SIZE, t) for t in NO_SIZES])
def test_anything_else_is_refused_with_what_is_allowed(key, text):
    with pytest.raises(SparkLLMError, match="a time such as 250ms|a size such as 512") as raised:
        parse_conf({key: text})
    assert raised.value.condition == "LLM_INVALID_CONF"
