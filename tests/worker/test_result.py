import datetime as dt
import json
from decimal import Decimal

import pyarrow as pa
import pytest
from pyspark.sql import types as t
from worker_helpers import batch, run, spec

from spark_llm.engine.types import EngineAnswer
from spark_llm.worker import load_command
from spark_llm.worker.arrow_types import arrow_type
from spark_llm.worker.command import result_type
from spark_llm.worker.dedup import Slot
from spark_llm.worker.result import ResultWriter

STRUCT = t.StructType(
    [
        t.StructField("n", t.IntegerType(), nullable=False),
        t.StructField("when", t.ArrayType(t.TimestampType())),
        t.StructField("m", t.MapType(t.StringType(), t.DecimalType(6, 2))),
    ]
)
CASES = [
    (t.StringType(), "é", "é"),
    (t.BooleanType(), "No", False),
    (t.ByteType(), "-1", -1),
    (t.ShortType(), "2", 2),
    (t.IntegerType(), "3", 3),
    (t.LongType(), "4", 4),
    (t.FloatType(), "0.5", 0.5),
    (t.DoubleType(), "0.25", 0.25),
    (t.DecimalType(20, 3), "1.5", Decimal("1.500")),
    (t.DateType(), "2024-02-29", dt.date(2024, 2, 29)),
    (t.TimestampType(), "2024-02-29T01:00:00", dt.datetime(2024, 2, 29, tzinfo=dt.UTC)),
    (t.TimestampNTZType(), "2024-02-29T01:00:00", dt.datetime(2024, 2, 29, 1)),  # noqa: DTZ001
    (t.ArrayType(t.ArrayType(t.IntegerType())), "[[1, null], []]", [[1, None], []]),
    (
        STRUCT,
        '{"n": 1, "when": ["2024-02-29T01:00:00"], "m": {"a": 1.5}}',
        {"n": 1, "when": [dt.datetime(2024, 2, 29, tzinfo=dt.UTC)], "m": [("a", Decimal("1.50"))]},
    ),
    (
        t.MapType(t.StringType(), STRUCT),
        '{"a": {"n": 1, "when": null, "m": {}}}',
        [("a", {"n": 1, "when": None, "m": []})],
    ),
]


@pytest.mark.parametrize(("data_type", "text", "value"), CASES, ids=lambda value: str(value)[:25])
def test_every_type_round_trips_beside_a_null_and_a_failure(engine, data_type, text, value):
    engine(lambda user: text if "good" in user else "\ud800")
    conf = {"spark.sql.session.timeZone": "Europe/Paris"}
    good, null, bad = run(spec(data_type.json(), conf=conf), batch(["good", ""], [None, None], ["bad", ""]))
    assert (good["value"], good["condition"], good["requests"]) == (value, None, 1)
    assert (null["value"], null["condition"], null["requests"]) == (None, None, 0)
    assert (bad["value"], bad["condition"]) == (None, "LLM_OUTPUT_INVALID")
    assert f"not a valid {data_type.simpleString().upper()}:" in bad["message"]
    assert "It is of length 1." in bad["message"]


def test_columns_are_those_of_the_contract():
    function, row_type = load_command(spec(json.loads(json.dumps('"integer"'))))
    (result,) = function(iter([batch(["a", "b"])]))
    expected = {
        "value": pa.int32(),
        "condition": pa.string(),
        "message": pa.string(),
        "requests": pa.int32(),
        "prompt_tokens": pa.int64(),
        "cached_prompt_tokens": pa.int64(),
        "generated_tokens": pa.int64(),
        "engine_wait_ms": pa.int64(),
        "retries": pa.int32(),
        "profile": pa.string(),
        "prompt_hash": pa.string(),
        "early": pa.int64(),
        "thinking_tokens": pa.int64(),
        "reasoned": pa.int32(),
        "thinking_cut": pa.int32(),
        "unasked_thinking": pa.int32(),
        "reasoning": pa.string(),
        "costly": pa.int32(),
        "costly_tokens": pa.int64(),
        "model": pa.int32(),
    }
    assert dict(zip(result.schema.names, result.schema.types, strict=True)) == expected
    assert row_type.names == list(expected)


@pytest.mark.parametrize("data_type", [data_type for data_type, _, _ in CASES], ids=str)
def test_arrow_types_are_those_of_pyspark(data_type):
    from pyspark.sql.pandas.types import from_arrow_type

    assert from_arrow_type(arrow_type(data_type)) == data_type


@pytest.mark.parametrize("data_type", [data_type for data_type, _, _ in CASES], ids=str)
def test_the_fake_engine_answers_in_every_type(data_type):
    rows = run(spec(data_type.json()), batch(*[[f"city {n}", n] for n in range(20)]))
    assert [row["message"] for row in rows if row["condition"]] == []
    assert len({str(row["value"]) for row in rows}) > 1


def test_retries_stand_with_the_row_that_asked():
    slot = Slot()
    slot.value = "x"
    answer = EngineAnswer("x", None, None, 9, 0, 1, "stop", retries=3)
    written = ResultWriter(result_type(t.StringType())).write([slot, slot], {1: answer}, 0)
    assert written.column("retries").to_pylist() == [0, 3]
