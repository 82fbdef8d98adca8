"""A query over an endpoint that misbehaves: every row, each failure its own condition, retries in the metrics."""

import threading

import pytest

from spark_llm import from_exception, metrics
from spark_llm.engine.fake import FakeEngine
from spark_llm.engine.faults import Faults
from spark_llm.engine.faulty_server import FaultyServer

pytestmark = pytest.mark.spark

# As it stands in the JSON of the messages: the closing quote keeps row 4 apart from row 40.
BAD = {'row 17\\"': "truncated", 'row 23\\"': "wrong-schema", 'row 31\\"': "error-200", 'row 40\\"': "400"}


@pytest.fixture
def endpoint(conf):
    """Starts a server and points the session at it."""
    started = []

    def start(**faults):
        server = FaultyServer(FakeEngine(), Faults(**faults), slow_s=0.01)
        server.handle_error = lambda *_: None
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        started.append(server)
        conf("spark.llm.engine.kind", "openai")
        conf("spark.llm.engine.endpoint", f"http://127.0.0.1:{server.server_port}/v1")
        conf("spark.llm.model", "fake")
        return server

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


def ask(spark):
    sql = "SELECT id, llm('p', concat('row ', id), on_error => 'struct') a FROM range(0, 60, 1, 2)"
    return {row.id: row.a for row in spark.sql(sql).collect()}


@pytest.mark.reliability(
    "one request in three goes wrong, four rows always", "each row once, four with a condition"
)
def test_the_right_rows_and_each_failure_its_own_condition(spark, conf, endpoint):
    """A third of requests fail in seven ways and four rows always do -> 60 rows, four conditions."""
    conf("spark.llm.errors.maxRetries", "3")
    endpoint()
    calm = ask(spark)
    ways = ["429-seconds", "500", "slow", "truncated", "drop", "drop-mid", "wrong-schema"]
    server = endpoint(share=dict.fromkeys(ways, 0.02), always=BAD, seed=3)
    found = ask(spark)
    assert found.keys() == calm.keys() == set(range(60))
    failed = {at: row.error.condition for at, row in found.items() if row.error is not None}
    assert failed == {
        17: "LLM_RESPONSE_INVALID",
        23: "LLM_RESPONSE_INVALID",
        31: "LLM_REQUEST_REJECTED",
        40: "LLM_REQUEST_REJECTED",
    }
    assert all(found[at].value == calm[at].value for at in found.keys() - failed)
    (call,) = metrics.last_query(spark)
    assert call.failed_rows == 4
    assert call.retries >= sum(server.faults.done[name] for name in ways if name != "slow") - 2


@pytest.mark.reliability("an endpoint that only answers 500", "the query fails with LLM_ENDPOINT_FAILED")
def test_an_endpoint_that_is_down_fails_the_query(spark, conf, endpoint):
    """Only 500 -> LLM_ENDPOINT_FAILED that names the endpoint, though rows may fail alone."""
    conf("spark.llm.errors.maxRetries", "1")
    endpoint(share={"500": 1.0})
    with pytest.raises(Exception, match="LLM_ENDPOINT_FAILED") as raised:
        spark.sql("SELECT llm('p', id, on_error => 'null') FROM range(0, 3, 1, 1)").collect()
    assert "127.0.0.1" in from_exception(raised.value).message


def test_a_host_that_is_not_allowed_is_refused_at_planning(spark, conf, endpoint):
    server = endpoint()
    conf("spark.llm.security.allowedHosts", "llm.example.com, *.example.org")
    with pytest.raises(Exception, match="LLM_HOST_NOT_ALLOWED") as raised:
        spark.sql("SELECT llm('p', id) FROM range(2)").collect()
    error = from_exception(raised.value)
    assert (error.condition, error.sqlstate) == ("LLM_HOST_NOT_ALLOWED", "42501")
    assert "127.0.0.1" in error.message
    assert "llm.example.com, *.example.org" in error.message
    assert not server.faults.done
    conf("spark.llm.security.allowedHosts", "127.0.0.1")
    assert spark.sql("SELECT llm('p', id) FROM range(2)").count() == 2
    conf("spark.llm.models.other.endpoint", "http://evil.example.net/v1")
    with pytest.raises(Exception, match="LLM_HOST_NOT_ALLOWED.*evil.example.net"):
        spark.sql("SELECT llm('p', id, model => 'other') FROM range(2)").collect()
