"""A credential and the rows of a table, looked for in everything that Spark and we write about a query."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from spark_llm import session_conf

pytestmark = [pytest.mark.spark, pytest.mark.slow]

CREDENTIAL = "k-5be1c0ffee77"
ROW = "The walrus of Winnipeg ordered eleven umbrellas"

APP = """
import json, sys, traceback, urllib.request
from pyspark.sql import SparkSession
builder = SparkSession.builder.master("local[1]")
for key, value in json.loads(sys.argv[1]).items():
    builder = builder.config(key, value)
spark = builder.getOrCreate()
spark.sparkContext.setLogLevel("INFO")
spark.createDataFrame([(n, f"{sys.argv[3]} {kind}") for n, kind in enumerate(["good", "bad", "good"])],
                      "id INT, text STRING").write.parquet(sys.argv[2])
spark.read.parquet(sys.argv[2]).createOrReplaceTempView("t")
asked = spark.sql("SELECT id, llm('Is it long?', text, on_error => 'struct') a FROM t")
print([row.a.error for row in asked.collect()])
for mode in ("extended", "formatted", "cost"):
    asked.explain(mode)
print(dict(spark.sql("SET").collect()))
for sql in ("SELECT llm('Is it long?', text) FROM t WHERE id = 1",
            "SELECT llm('Is it long?', text, model => 'shut') FROM t"):
    try:
        spark.sql(sql).collect()
        print("no failure")
    except Exception as error:
        traceback.print_exc(file=sys.stdout)
        print("failed:", error.getCondition())
spark.conf.set("spark.llm.errors.table", sys.argv[2] + "_errors/")
wrong = "llm('Repeat it.', text, return_type => 'STRUCT<n: INT>'{}) FROM t"
print([row[0].error for row in spark.sql("SELECT " + wrong.format(", on_error => 'struct'")).collect()])
for sql in (wrong.format(""), wrong.format(", on_error => 'null'")):
    try:
        spark.sql("SELECT " + sql).collect()
        print("no failure")
    except Exception as error:
        traceback.print_exc(file=sys.stdout)
        print("failed:", error.getCondition())
    spark.conf.set("spark.llm.errors.maxFailedRatio", "0")
print([row.asDict() for row in spark.read.parquet(sys.argv[2] + "_errors").collect()])
base = f"{spark.sparkContext.uiWebUrl}/api/v1/applications/{spark.sparkContext.applicationId}"
for part in ("sql?details=true&planDescription=true", "jobs", "stages?details=true", "environment", "allexecutors"):
    print(urllib.request.urlopen(f"{base}/{part}").read().decode())
for page in ("SQL", "environment", "jobs"):
    print(urllib.request.urlopen(f"{spark.sparkContext.uiWebUrl}/{page}/").read().decode())
spark.stop()
print("done")
"""


@pytest.fixture
def tactless():
    """A server that repeats credential and prompt in its errors."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            user = body["messages"][1]["content"]
            status, answer = 200, {"choices": [{"message": {"content": "No"}}]}
            if body["model"] == "closed":
                status = 401
            elif " bad" in user and "Repeat it." not in user:
                status = 400
            elif "Repeat it." in user:
                answer = {"choices": [{"message": {"content": json.dumps({"n": ROW})}}]}
            if status != 200:
                answer = {"error": {"message": f"{self.headers['authorization']} asked: {user}"}}
            seen.append(self.headers["authorization"])
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args):
            pass

    seen = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.seen = seen
    server.handle_error = lambda *_: None
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.reliability(
    "a credential, and a server that repeats it with the row",
    "in no plan, EXPLAIN, event log, UI, REST answer, log or error text",
)
def test_credential_and_rows_are_nowhere(tactless, tmp_path):
    """Queries that succeed, fail, or are answered with the row in the wrong type -> neither credential nor row in anything written."""
    (tmp_path / "credential").write_text(CREDENTIAL)
    events = tmp_path / "events"
    events.mkdir()
    url = f"http://127.0.0.1:{tactless.server_port}/v1"
    reference = f"file:{tmp_path}/credential"
    conf = {
        **session_conf(),
        "spark.llm.engine.kind": "openai",
        "spark.llm.model": "open",
        "spark.llm.engine.endpoint": url,
        "spark.llm.engine.secret": reference,
        "spark.llm.models.shut.endpoint": url,
        "spark.llm.models.shut.path": "closed",
        "spark.llm.models.shut.secret": reference,
        "spark.eventLog.enabled": "true",
        "spark.eventLog.compress": "false",
        "spark.eventLog.dir": events.as_uri(),
        "spark.ui.port": "0",
        "spark.driver.memory": "700m",
    }
    app = subprocess.run(
        [sys.executable, "-c", APP, json.dumps(conf), str(tmp_path / "table"), ROW],
        env={**os.environ, "PYSPARK_PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert app.stdout.strip().endswith("done"), app.stdout[-2000:] + app.stderr[-2000:]
    assert set(tactless.seen) == {f"Bearer {CREDENTIAL}"}
    assert "failed: LLM_REQUEST_REJECTED" in app.stdout
    assert "failed: LLM_ENDPOINT_FAILED" in app.stdout
    assert "failed: LLM_OUTPUT_INVALID" in app.stdout
    assert "failed: LLM_TOO_MANY_FAILURES" in app.stdout
    assert app.stdout.count("in the field n, a text of length 47 is not a whole number") > 6
    assert "(row text)" in app.stdout
    assert "(hidden)" in app.stdout
    logs = [file for file in events.rglob("*") if file.is_file() and not file.name.startswith(".")]
    written = {"output": app.stdout, "log": app.stderr, **{file.name: file.read_text() for file in logs}}
    assert any("LLMEval" in text for name, text in written.items() if name not in {"output", "log"})
    for name, text in written.items():
        assert CREDENTIAL not in text, name
        assert "walrus" not in text, name
