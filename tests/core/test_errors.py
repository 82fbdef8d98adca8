import importlib.resources
import json
import pickle
import re
import zipfile
from pathlib import Path

import pytest

from spark_llm import errors
from spark_llm.errors import SparkLLMError, conditions, from_exception

TABLE = importlib.resources.files("spark_llm").joinpath("error-conditions.json").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def spark_states():
    pyspark = pytest.importorskip("pyspark")
    for jar in sorted((Path(pyspark.__file__).parent / "jars").glob("spark-*.jar")):
        with zipfile.ZipFile(jar) as archive:
            if "error/error-states.json" in archive.namelist():
                return json.loads(archive.read("error/error-states.json"))
    pytest.skip("this pyspark has no error-states.json")
    return None


def test_table_is_sorted_and_complete():
    table = json.loads(TABLE)
    assert list(table) == sorted(table)
    for name, entry in table.items():
        assert re.fullmatch("LLM(_[A-Z]+)+", name)
        assert set(entry) == {"message", "sqlState", "hint"}
        assert all(entry["message"])
        assert entry["hint"]


def test_every_sqlstate_is_one_of_spark(spark_states):
    assert {c.name for c in conditions().values() if c.sqlstate not in spark_states} == set()


@pytest.mark.parametrize("name", conditions())
def test_params_are_well_formed(name):
    entry = conditions()[name]
    text = f"{entry.message} {entry.hint}"
    for match in re.finditer("<[^>]*>?", text):
        assert re.fullmatch("<[a-z][a-zA-Z]*>", match[0])
    filled = str(SparkLLMError(name, dict.fromkeys(entry.params, "X")))
    assert "<" not in filled.replace("MAP<", "")
    assert filled.startswith(f"[{name}] ")
    assert filled.endswith(f" SQLSTATE: {entry.sqlstate}")
    assert ".." not in filled


def test_missing_params_stay_visible_and_values_are_never_expanded():
    error = SparkLLMError("LLM_ENGINE_FAILED", reason="cannot read <log>.")
    assert error.message == "The engine failed: cannot read <log>. Its log: <log>."


def test_unknown_condition_still_tells():
    error = SparkLLMError("LLM_NEW", {"a": 1})
    assert (error.sqlstate, error.params) == ("XX000", {"a": "1"})
    assert "LLM_NEW" in str(error)


def test_pickled_error_is_the_same():
    error = errors.model_not_found("qwen", ["llama", "qwen3"])
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.params, again.getCondition(), again.getSqlState()) == (
        str(error),
        error.params,
        "LLM_MODEL_NOT_FOUND",
        "42704",
    )


def test_known_models_come_nearest_first():
    assert "known: qwen3, alpha, zeta." in errors.model_not_found("Qwen2", ["zeta", "qwen3", "alpha"]).message


def test_answer_is_cut_and_its_control_characters_are_escaped():
    answer = "\x00ü\n" + "x" * 200
    message = errors.output_invalid("INT", answer, "it is not a number", quoting=True).message
    assert message.endswith(r"It starts with '\x00ü\n" + "x" * 97 + "'.")
    message = errors.output_invalid("INT", answer, "it is not a number", quoting=False).message
    assert message == "The answer is not a valid INT: it is not a number. It is of length 203."


def test_found_in_what_spark_wraps_around_it():
    ours = errors.engine_failed("it died", "/x/engine.log")
    text = f"Job aborted: Traceback ...\nspark_llm.errors.SparkLLMError: {ours}\n\tat org.apache.spark.Foo\n"
    try:
        try:
            raise RuntimeError(text)
        except RuntimeError as inner:
            raise ValueError("outer") from inner
    except ValueError as outer:
        found = from_exception(outer)
    assert (found.condition, found.sqlstate, found.message, found.hint, str(found)) == (
        "LLM_ENGINE_FAILED",
        "58000",
        ours.message,
        ours.hint,
        str(ours),
    )
    assert from_exception(ours) is ours


def test_other_errors_and_cycles_are_not_ours():
    loop = ValueError("[NOT_OURS] x SQLSTATE: 42000")
    loop.__context__ = RuntimeError("y")
    loop.__context__.__context__ = loop
    assert from_exception(loop) is None
