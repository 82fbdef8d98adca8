"""spark.llm.engine.kind=openai: any OpenAI-compatible URL, here the fake engine behind HTTP."""

import threading

import pytest
from pyspark.errors import QueryExecutionException

from spark_llm.engine.fake import FakeEngine
from spark_llm.engine.fake_server import FakeServer

pytestmark = pytest.mark.spark


@pytest.fixture
def endpoint(conf):
    server = FakeServer(FakeEngine(), port=0, credential="k-1")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_address[1]
    conf("spark.llm.engine.kind", "openai")
    conf("spark.llm.engine.endpoint", f"http://127.0.0.1:{port}/v1")
    conf("spark.llm.model", "fake")
    yield port
    server.shutdown()
    server.server_close()


@pytest.fixture
def credential(conf, tmp_path):
    file = tmp_path / "credential"
    file.write_text("k-1\n")
    conf("spark.llm.engine.secret", f"file:{file}")


def test_answers_are_those_of_the_engine_in_process(spark, conf, endpoint, credential):
    # scalar types travel in a JSON object here and as a choice or a pattern there, which the fake engine tells apart
    sql = """SELECT llm('p', id) t, llm('p', id, return_type => 'STRUCT<a: INT, b: STRING>') s
             FROM range(0, 40, 1, 2)"""
    typed = (
        "SELECT llm('p', id, return_type => 'BOOLEAN') b, llm('p', id, return_type => 'INT') i FROM range(9)"
    )
    assert {type(v) for row in spark.sql(typed).collect() for v in row} == {bool, int}
    remote = spark.sql(sql).collect()
    conf("spark.llm.engine.kind", "fake")
    assert sorted(map(str, remote)) == sorted(map(str, spark.sql(sql).collect()))


def test_a_wrong_credential_says_so_and_is_not_shown(spark, conf, endpoint, tmp_path):
    file = tmp_path / "credential"
    file.write_text("wrong-one")
    conf("spark.llm.engine.secret", f"file:{file}")
    with pytest.raises(QueryExecutionException, match="LLM_ENDPOINT_FAILED") as raised:
        spark.sql("SELECT llm('p', id) FROM range(2)").collect()
    assert raised.value.getCondition() == "LLM_ENDPOINT_FAILED"
    assert raised.value.getSqlState() == "08000"
    assert "wrong-one" not in str(raised.value)


def test_a_credential_by_value_is_refused(spark, conf, endpoint):
    conf("spark.llm.engine.secret", "sk-12345")
    with pytest.raises(Exception, match="LLM_") as raised:
        spark.sql("SELECT llm('p', id) FROM range(2)").collect()
    assert "sk-12345" not in str(raised.value)
    assert "sk-12345" not in dict(spark.sql("SET").collect()).values()


def test_a_model_with_an_endpoint_of_its_own(spark, conf, endpoint, credential):
    conf("spark.llm.engine.kind", "vllm")
    conf("spark.llm.models.small.endpoint", f"http://127.0.0.1:{endpoint}/v1")
    conf("spark.llm.models.small.secret", spark.conf.get("spark.llm.engine.secret"))
    rows = spark.sql("SELECT llm('ECHO', id, model => 'small') a FROM range(2) ORDER BY id").collect()
    assert [r.a for r in rows] == ['{"id": 0}', '{"id": 1}']


def test_nobody_listens(spark, conf, endpoint):
    conf("spark.llm.engine.endpoint", "http://127.0.0.1:9/v1")
    with pytest.raises(QueryExecutionException) as raised:
        spark.sql("SELECT llm('p', id) FROM range(1)").collect()
    assert raised.value.getCondition() == "LLM_ENDPOINT_FAILED"
