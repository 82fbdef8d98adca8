"""provenance => true: what was asked, of which model, and where the answer is from."""

from collections import Counter
from hashlib import sha256

import pytest

from spark_llm import functions as LF
from spark_llm import metrics

pytestmark = pytest.mark.spark

ASK = "SELECT id, llm('ECHO', x, provenance => true{}) a FROM of_provenance"


@pytest.fixture(scope="module", autouse=True)
def table(spark):
    """100 rows, 10 questions, one row without a question; fewer rows get no exchange."""
    spark.sql("""CREATE OR REPLACE TEMP VIEW of_provenance AS
                 SELECT id, if(id = 99, NULL, concat('x', id % 10)) x FROM range(0, 100, 1, 2)""")


def sources(rows):
    return Counter(row.a.provenance and row.a.provenance.source for row in rows)


def test_engine_and_dedup(spark):
    rows = spark.sql(ASK.format("")).collect()
    assert sources(rows) == {"engine": 10, "dedup": 89, None: 1}
    assert sum(call.requests for call in metrics.last_query(spark)) == 10
    assert {row.id: row.a.value for row in rows}[3] == '{"x": "x3"}'
    assert {row.a.provenance.model for row in rows if row.id < 99} == {"fake:"}


def test_the_hash_is_that_of_the_prompt(spark):
    rows = spark.sql(ASK.format("")).collect()
    hashes = {row.a.value: row.a.provenance.prompt_hash for row in rows if row.id < 99}
    system = "Answer the instruction for the given row. Reply with the answer only."
    assert hashes['{"x": "x3"}'] == sha256(f'{system}\0ECHO\n{{"x": "x3"}}'.encode()).hexdigest()
    assert len(set(hashes.values())) == 10


def test_cache(spark, conf, tmp_path):
    conf("spark.llm.cache.enabled", "true")
    conf("spark.llm.cache.dir", str(tmp_path))
    first = spark.sql(ASK.format("")).collect()
    again = spark.sql(ASK.format("")).collect()
    assert sources(again) == {"cache": 99, None: 1}
    assert {r.a.provenance.prompt_hash for r in again if r.id < 99} == {None}
    assert {(r.id, r.a.value) for r in again} == {(r.id, r.a.value) for r in first}
    assert {r.a.provenance.revision for r in again if r.id < 99} == {
        r.a.provenance.revision for r in first if r.id < 99
    }


def test_with_errors(spark, conf):
    conf("spark.llm.fake.fail", "x7")
    rows = spark.sql(ASK.format(", on_error => 'struct'")).collect()
    failed = [row.a for row in rows if row.id % 10 == 7]
    assert {(a.value, a.error.condition, a.provenance.model) for a in failed} == {
        (None, "LLM_REQUEST_REJECTED", "fake:")
    }
    assert all(row.a.error is None for row in rows if row.id % 10 != 7)
    (kind,) = spark.sql(ASK.format(", on_error => 'struct'")).select("a").dtypes
    assert kind[1].startswith("struct<value:string,error:struct<condition:string,message:string>,provenance:")


def test_every_way_to_write_it(spark):
    column = LF.llm("ECHO", "x", provenance=True, return_type=str)
    rows = spark.table("of_provenance").select("id", column.alias("a")).collect()
    assert sources(rows)["engine"] == 10
    (row,) = spark.sql("SELECT try_llm('ECHO', 'v', provenance => true).provenance.source s").collect()
    assert row.s == "engine"
