import datetime as dt
import json
import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import types as t

from spark_llm.worker.answer import AnswerParser
from spark_llm.worker.scalar import Invalid
from spark_llm.worker.zone import zone_of

PARIS = zone_of("Europe/Paris")


def parse(data_type, text, finish_reason="stop"):
    return AnswerParser(data_type, PARIS, 16)(text, finish_reason)


STRUCT = t.StructType(
    [t.StructField("n", t.IntegerType(), nullable=False), t.StructField("s", t.StringType())]
)
STRINGS = t.ArrayType(t.StringType())

GOOD = [
    (t.StringType(), "  pasta\n", "pasta"),
    (t.StringType(), "", ""),
    (t.BooleanType(), "Yes", True),
    (t.BooleanType(), " no.", False),
    (t.BooleanType(), "TRUE", True),
    (t.BooleanType(), '{"value": false}', False),
    (t.ByteType(), "-128", -128),
    (t.ShortType(), "32767", 32767),
    (t.IntegerType(), " 42\n", 42),
    (t.IntegerType(), '{"value": 42}', 42),
    (t.IntegerType(), '{"value": "42"}', 42),
    (t.LongType(), "-9223372036854775808", -(2**63)),
    (t.FloatType(), "1.5", 1.5),
    (t.DoubleType(), "-2e3", -2000.0),
    (t.DoubleType(), "7", 7.0),
    (t.DecimalType(5, 2), "-123.455", Decimal("-123.46")),
    (t.DecimalType(38, 18), "1", Decimal("1.000000000000000000")),
    (t.DateType(), "2024-02-29", dt.date(2024, 2, 29)),
    (t.DateType(), '{"value": "2024-02-29"}', dt.date(2024, 2, 29)),
    (t.TimestampType(), "2024-07-01T12:00:00", dt.datetime(2024, 7, 1, 10, tzinfo=dt.UTC)),
    (t.TimestampType(), "2024-07-01 12:00:00.1234567Z", dt.datetime(2024, 7, 1, 12, 0, 0, 123456, dt.UTC)),
    (t.TimestampType(), "2024-07-01T12:00:00-0130", dt.datetime(2024, 7, 1, 13, 30, tzinfo=dt.UTC)),
    (t.TimestampNTZType(), "2024-07-01T12:00", dt.datetime(2024, 7, 1, 12)),  # noqa: DTZ001
    (STRINGS, '["a", null, "\\u00e9"]', ["a", None, "é"]),
    (STRINGS, '{"value": ["a"]}', ["a"]),
    (STRINGS, '```json\n["a"]\n```', ["a"]),
    (t.MapType(t.StringType(), t.LongType()), '{"a": 1, "b": null}', [("a", 1), ("b", None)]),
    (t.MapType(t.StringType(), t.LongType()), '{"value": 1}', [("value", 1)]),
    (t.MapType(t.StringType(), t.LongType()), '{"value": {"a": 1}}', [("a", 1)]),
    (STRUCT, '{"n": 1, "s": null, "more": 2}', {"n": 1, "s": None}),
    (STRUCT, '{"value": {"n": 1, "s": "x"}}', {"n": 1, "s": "x"}),
    (t.ArrayType(STRUCT), '[{"s": "x", "n": -1}]', [{"n": -1, "s": "x"}]),
]


@pytest.mark.parametrize(("data_type", "text", "value"), GOOD, ids=lambda value: str(value)[:30])
def test_answers_are_read(data_type, text, value):
    got = parse(data_type, text)
    assert (got, type(got)) == (value, type(value))


BAD = [
    (t.StringType(), "\ud800", "surrogate"),
    (t.BooleanType(), "maybe", "neither Yes nor No"),
    (t.BooleanType(), '{"value": 1}', "neither Yes nor No"),
    (t.ByteType(), "128", "128 is outside of -128 to 127"),
    (t.IntegerType(), "2147483648", "outside"),
    (t.IntegerType(), "1.0", "not a whole number"),
    (t.IntegerType(), "true", "not a number"),
    (t.IntegerType(), '"5"', "not a number"),
    (t.IntegerType(), "five", "not JSON"),
    (t.IntegerType(), "9" * 5000, "cannot be read|not JSON"),
    (t.LongType(), "9223372036854775808", "outside"),
    (t.FloatType(), "1e39", "larger"),
    (t.DoubleType(), "1e400", "larger"),
    (t.DoubleType(), "NaN", "NaN is not a number of JSON"),
    (t.DoubleType(), "-Infinity", "not a number of JSON"),
    (t.DecimalType(5, 2), "1000", "more than 3 digits"),
    (t.DecimalType(5, 2), "999.999", "more than 3 digits"),
    (t.DecimalType(5, 2), "1e999999", "more than 3 digits"),
    (t.DateType(), "2023-02-29", "not in the calendar"),
    (t.DateType(), "20230228", "form 2024-12-31"),
    (t.DateType(), "２０２３-01-01", "form 2024-12-31"),
    (t.TimestampType(), "2024-01-01", "form 2024-12-31T23:59:59"),
    (t.TimestampType(), "0001-01-01T00:00:00+23:59", "not in the calendar"),
    (t.TimestampNTZType(), "2024-01-01T00:00:00Z", "without an offset"),
    (STRINGS, "a, b", "not JSON"),
    (STRINGS, "[1]", "1 is not a string"),
    (STRINGS, '["\\ud800"]', "surrogate"),
    (STRINGS, "[" * 100_000, "cannot be read|not JSON"),
    (t.ArrayType(t.StringType(), False), "[null]", "null is not a string"),
    (t.MapType(t.StringType(), t.LongType(), False), '{"a": null}', "null is not a whole number"),
    (STRUCT, '{"n": 1}', "the field s is missing"),
    (STRUCT, '{"n": null, "s": "x"}', "in the field n, null is not a whole number"),
    (
        t.StructType([t.StructField("o", STRUCT)]),
        '{"o": {"n": "1", "s": ""}}',
        "in the field o, in the field n",
    ),
    (STRUCT, "[]", "not an object"),
    (STRUCT, "", "not JSON"),
]


@pytest.mark.parametrize(("data_type", "text", "reason"), BAD, ids=lambda value: str(value)[:30])
def test_what_does_not_fit_is_refused_with_a_reason(data_type, text, reason):
    with pytest.raises(Invalid, match=reason):
        parse(data_type, text)


@pytest.mark.parametrize(
    ("data_type", "text"),
    [(t.IntegerType(), "12"), (STRUCT, '{"n": 1, "s": "x'), (t.DateType(), "2024-0"), (t.BooleanType(), "Y")],
)
def test_cut_off_answers_say_so(data_type, text):
    with pytest.raises(Invalid, match=r"max_tokens \(16\) was reached"):
        parse(data_type, text, "length")


def test_cut_off_answers_that_are_complete_are_taken():
    assert parse(t.BooleanType(), "Yes", "length") is True
    assert parse(STRUCT, '{"n": 1, "s": "x"}', "length") == {"n": 1, "s": "x"}
    assert parse(t.StringType(), "a long sto", "length") == "a long sto"


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_doubles_round_trip(number):
    assert parse(t.DoubleType(), json.dumps(number)) == number


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_floats_round_trip(number):
    assert math.isclose(parse(t.FloatType(), repr(number)), number, rel_tol=1e-6)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**8), max_value=10**8))
def test_decimals_round_trip(number):
    assert parse(t.DecimalType(14, 4), str(number)) == number


@given(st.datetimes(min_value=dt.datetime(2, 1, 1), timezones=st.just(dt.UTC)))  # noqa: DTZ001
def test_timestamps_round_trip(time):
    assert parse(t.TimestampType(), time.isoformat()) == time


@given(st.text(), st.sampled_from([data_type for data_type, _, _ in GOOD]))
def test_any_text_is_either_read_or_refused(text, data_type):
    reasons = []
    for finish_reason in ("stop", "length"):
        try:
            parse(data_type, text, finish_reason)
        except Invalid as reason:
            reasons.append(str(reason))
    assert all(reasons)


@pytest.mark.parametrize(
    ("name", "offset_hours"), [("Z", 0), ("+01:00", 1), ("GMT-8", -8), ("UTC+05:30", 5.5), ("Asia/Tokyo", 9)]
)
def test_zones(name, offset_hours):
    assert dt.datetime(2024, 1, 1, tzinfo=zone_of(name)).utcoffset() == dt.timedelta(hours=offset_hours)


def test_unknown_zone_is_told():
    with pytest.raises(Exception, match=r"spark.sql.session.timeZone is not valid"):
        zone_of("Mars/Base")
