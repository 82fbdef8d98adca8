import dataclasses
import datetime as dt
import enum
from decimal import Decimal
from typing import Annotated, Literal

import pytest
from pyspark.sql import types as t

from spark_llm.errors import SparkLLMError
from spark_llm.return_types import ddl_of


class Mood(enum.Enum):
    GOOD = "good"


@dataclasses.dataclass
class Person:
    name: str
    age: int | None
    tags: list[str]


@dataclasses.dataclass
class Review:
    author: Person
    mood: Mood
    label: Literal["a", "b"]
    scores: dict[str, float | None]
    when: dt.datetime | None = None


PERSON = "STRUCT<`name`: STRING NOT NULL, `age`: BIGINT, `tags`: ARRAY<STRING> NOT NULL>"


@pytest.mark.parametrize(
    ("given", "ddl"),
    [
        ("STRUCT<a: INT>", "STRUCT<a: INT>"),
        (t.IntegerType(), "INT"),
        (t.LongType, "BIGINT"),
        (t.ArrayType(t.DecimalType(5, 2)), "ARRAY<DECIMAL(5,2)>"),
        (t.MapType(t.StringType(), t.DateType()), "MAP<STRING, DATE>"),
        (t.StructType().add("a`b c", "string", nullable=False), "STRUCT<`a``b c`: STRING NOT NULL>"),
        (bool, "BOOLEAN"),
        (Decimal, "DECIMAL(38,18)"),
        (dt.date, "DATE"),
        (list[int], "ARRAY<BIGINT>"),
        (dict[str, list[bool]], "MAP<STRING, ARRAY<BOOLEAN>>"),
        (Literal["x", "y"], "STRING"),
        (Person, PERSON),
        (
            Review,
            f"STRUCT<`author`: {PERSON} NOT NULL, `mood`: STRING NOT NULL, `label`: STRING NOT NULL, "
            "`scores`: MAP<STRING, DOUBLE> NOT NULL, `when`: TIMESTAMP>",
        ),
    ],
    ids=str,
)
def test_ddl(given, ddl):
    assert ddl_of(given) == ddl


def test_pydantic_models():
    pydantic = pytest.importorskip("pydantic")

    class City(pydantic.BaseModel):
        name: Annotated[str, "as written"]
        people: int | None = None

    assert ddl_of(City) == "STRUCT<`name`: STRING NOT NULL, `people`: BIGINT>"
    assert ddl_of(list[City]) == "ARRAY<STRUCT<`name`: STRING NOT NULL, `people`: BIGINT>>"


@pytest.mark.parametrize("given", [object, bytes, set[int], dict[int, str], int | str, list, 7], ids=str)
def test_other_things_are_refused(given):
    with pytest.raises(SparkLLMError, match="LLM_INVALID_OPTION.*return_type"):
        ddl_of(given)
