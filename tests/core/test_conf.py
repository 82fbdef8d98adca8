import json
import re

import pytest

from spark_llm.conf import ENTRIES, parse_conf, resolve_model
from spark_llm.conf_entry import Entry
from spark_llm.errors import SparkLLMError

SPARK_REDACTS = re.compile("(?i)secret|password|token|access[.]?key")


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.key)
def test_spark_redacts_credentials_and_nothing_else(entry):
    assert bool(SPARK_REDACTS.search(entry.key)) == entry.key.endswith(".secret")
    assert entry.key.endswith(".secret") == (entry.kind == "reference")
    assert not SPARK_REDACTS.search(entry.default or "")
    assert not any(SPARK_REDACTS.search(value) for value in entry.allowed)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.key)
def test_entry_is_well_formed(entry):
    assert re.fullmatch(r"spark\.llm(\.<name>|\.[a-z][a-zA-Z]*)+", entry.key)
    assert entry.doc.endswith(".")
    switch = entry.kind == "boolean" or {"true", "false"} <= set(entry.allowed)
    assert switch == entry.key.endswith(".enabled")
    if entry.default is not None:
        entry.parse(entry.default)


def test_keys_are_unique():
    assert len({entry.key for entry in ENTRIES}) == len(ENTRIES)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("boolean", "TRUE", True),
        ("json", '{"a": 1}', {"a": 1}),
        ("reference", "env:HF_KEY", "env:HF_KEY"),
        ("int", " 7 ", 7),
    ],
)
def test_values_parse(kind, text, value):
    assert Entry(key="k", kind=kind, default=None, doc="").parse(text) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("boolean", "1"),
        ("json", "[1]"),
        ("json", "{"),
        ("reference", "sk-abc"),
        ("int", "1.5"),
        ("float", "much"),
    ],
)
def test_bad_values_are_refused(kind, text):
    with pytest.raises(SparkLLMError, match="LLM_INVALID_CONF"):
        Entry(key="k", kind=kind, default=None, doc="").parse(text)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("spark.llm.batchRows", "0"),
        ("spark.llm.engine.gpuMemoryFraction", "1.1"),
        ("spark.llm.engine.gpuMemoryFraction", "nan"),
        ("spark.llm.engine.kind", "vlm"),
    ],
)
def test_values_out_of_range_are_refused(key, text):
    with pytest.raises(SparkLLMError, match=re.escape(f"The value {text} of {key} is not valid")):
        parse_conf({key: text})


def test_a_credential_in_the_conf_is_not_repeated_in_the_error():
    with pytest.raises(SparkLLMError) as raised:
        parse_conf({"spark.llm.engine.secret": "sk-abc"})
    assert "sk-abc" not in str(raised.value)
    assert "env:NAME" in str(raised.value)


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [
        ("spark.llm.batchrows", "spark.llm.batchRows"),
        ("spark.llm.dedup.enable", "spark.llm.dedup.enabled"),
        ("spark.llm.models.small.pth", "spark.llm.models.<name>.path"),
        ("spark.llm.xyz", "spark.llm."),
    ],
)
def test_unknown_key_names_the_nearest(wrong, nearest):
    with pytest.raises(SparkLLMError) as raised:
        parse_conf({wrong: "1"})
    assert raised.value.condition == "LLM_UNKNOWN_CONF"
    assert f"Did you mean {nearest}" in str(raised.value)


def test_other_settings_are_left_alone_and_the_time_zone_is_kept():
    conf = parse_conf({"spark.sql.session.timeZone": "Europe/Paris", "spark.master": "local"})
    assert (conf.settings, conf.time_zone) == ({}, "Europe/Paris")


def test_defaults_are_typed():
    conf = parse_conf({"spark.llm.batchBytes": "1k"})
    assert conf.integer("spark.llm.batchBytes") == 1024
    assert conf.number("spark.llm.engine.startTimeout") == 600.0
    assert conf.flag("spark.llm.dedup.enabled") is True
    assert conf.text("spark.llm.engine.kind") == "vllm"
    assert conf.get("spark.llm.model") is None


VLLM = {"spark.llm.model": "org/base"}
NAMED = {
    "spark.llm.models.small.path": "/models/small",
    "spark.llm.models.big.endpoint": "https://host/v1",
    "spark.llm.models.big.path": "big-70b",
    "spark.llm.models.big.secret": "env:BIG_KEY",
}


@pytest.mark.parametrize(
    ("settings", "name", "expected"),
    [
        (VLLM, None, ("org/base", "org/base", None, None)),
        (VLLM, "org/base", ("org/base", "org/base", None, None)),
        ({**NAMED, "spark.llm.model": "small"}, None, ("small", "/models/small", None, None)),
        (
            {**NAMED, "spark.llm.model": "small"},
            "/models/small",
            ("/models/small", "/models/small", None, None),
        ),
        (
            {**NAMED, **VLLM},
            "big",
            ("big", "big-70b", "https://host/v1", ("spark.llm.models.big.secret", "env:BIG_KEY")),
        ),
        (
            {"spark.llm.engine.kind": "openai", "spark.llm.engine.endpoint": "http://x/v1", **VLLM},
            "gpt",
            ("gpt", "gpt", "http://x/v1", None),
        ),
        ({"spark.llm.engine.kind": "fake"}, None, ("fake", "fake", None, None)),
    ],
)
def test_models_are_resolved(settings, name, expected):
    assert tuple(resolve_model(parse_conf(settings), name)) == expected


def test_a_model_that_the_engine_does_not_serve_is_refused():
    with pytest.raises(SparkLLMError, match="known: big, org/base, small"):
        resolve_model(parse_conf({**NAMED, **VLLM}), "bi")


def test_no_model_at_all_is_told():
    with pytest.raises(SparkLLMError, match="LLM_MODEL_NOT_SET"):
        resolve_model(parse_conf({}))


def test_the_jvm_has_every_key():
    from importlib import resources

    table = json.loads(resources.files("spark_llm").joinpath("conf-entries.json").read_text(encoding="utf-8"))
    assert table.keys() == {entry.key for entry in ENTRIES}
    assert table["spark.llm.engine.kind"]["default"] == "vllm"
