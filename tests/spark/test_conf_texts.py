"""Times and sizes of the configuration mean the same in Python and in the JVM."""

import importlib.util
from pathlib import Path

import pytest

from spark_llm import from_exception
from spark_llm.conf import parse_conf
from spark_llm.errors import SparkLLMError

pytestmark = pytest.mark.spark

_spec = importlib.util.spec_from_file_location(
    "conf_texts", Path(__file__).parents[1] / "core/test_conf_texts.py"
)
texts = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(texts)


@pytest.fixture
def cache_conf(spark):
    return spark._jvm.org.apache.spark.sql.llm.CacheConf


def test_the_jvm_reads_the_same_times(cache_conf, conf):
    for text, seconds in texts.TIMES.items():
        conf(texts.TIME, text)
        assert cache_conf.ttlMs().get() == seconds * 1000, text


def test_the_jvm_reads_the_same_sizes(cache_conf, conf):
    for text, size in texts.SIZES.items():
        conf(texts.SIZE, text)
        assert cache_conf.broadcastMaxBytes().get() == size, text


def refusals(read, key, wrong, conf):
    for text in wrong:
        conf(key, text)
        with pytest.raises(SparkLLMError) as ours:
            parse_conf({key: text})
        with pytest.raises(Exception, match="LLM_INVALID_CONF") as raised:
            read()
        yield from_exception(raised.value).message, ours.value.message


def test_the_jvm_refuses_the_same_texts_in_the_same_words(cache_conf, conf):
    cases = [
        *refusals(cache_conf.ttlMs, texts.TIME, texts.NO_TIMES, conf),
        *refusals(cache_conf.broadcastMaxBytes, texts.SIZE, texts.NO_SIZES, conf),
        *refusals(cache_conf.flushMs, "spark.llm.cache.flushInterval", ["50ms"], conf),
    ]
    assert len(cases) == len(texts.NO_TIMES) + len(texts.NO_SIZES) + 1
    for jvm, python in cases:
        assert jvm == python


def test_no_other_rule_is_read_in_the_jvm():
    sources = Path(__file__).parents[2] / "spark_llm/catalyst"
    spark_rules = ("timeStringAs", "byteStringAs", "JavaUtils")
    found = [file.name for file in sources.glob("*.scala") if any(w in file.read_text() for w in spark_rules)]
    assert found == []
