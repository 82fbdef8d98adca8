"""`spark-sql -f`, with nothing but --jars: no Python driver, no PYTHONPATH, workers without this package."""

import pytest

pytestmark = pytest.mark.spark


def test_jar_alone_answers_sql(place, blocks, golden, rows):
    assert not {"PYTHONPATH", "PYSPARK_SUBMIT_ARGS"} & place.env.keys()
    (command,) = blocks("spark-sql")
    out = place.run(command)
    assert rows(out) == golden
    # Six rows to WHERE, one of them NULL; then one for each row that is left.
    assert place.requests() == {"driver": 5 + len(golden)}


def test_jar_alone_explains_calls(place):
    out = place.run(
        "spark-sql --jars spark_llm/jars/pyspark-llm-*.jar --conf spark.llm.engine.kind=fake "
        "-e \"EXPLAIN SELECT llm('Is it good?', struct(id AS x)) FROM range(9)\""
    )
    assert "== Extended Information (LLM) ==" in out
    assert "about 9 at the call (known from the query)" in out
    assert not place.requests()
