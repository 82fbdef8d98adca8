"""Limits that several executors share: requests per minute of an endpoint, and the budget of a query."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from spark_llm import session_conf
from spark_llm.engine.fake import FakeEngine
from spark_llm.engine.fake_server import FakeServer

pytestmark = [pytest.mark.spark, pytest.mark.slow]

APP = """
import json, sys, time
from pyspark.sql import SparkSession
from spark_llm import metrics
builder = SparkSession.builder.master("local-cluster[2,1,1024]")
for key, value in json.loads(sys.argv[1]).items():
    builder = builder.config(key, value)
spark = builder.getOrCreate()
frame = spark.sql("SELECT id, llm('ECHO', concat('row ', id), max_tokens => 16) a FROM range(0, %d, 1, 4)" % int(sys.argv[2]))
started = time.monotonic()
rows = frame.collect()
cost = metrics.total(metrics.last_query(spark))
executors = spark.sparkContext._jsc.sc().getExecutorMemoryStatus().size() - 1
print(json.dumps({"rows": len(rows), "answered": sum(r.a is not None for r in rows), "executors": executors, "started": started,
                  "spent": cost.prompt_tokens + cost.generated_tokens, "over": cost.rows_over_budget}))
"""


def run(settings, rows, app=APP):
    confs = {
        **session_conf(),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "ERROR",
        "spark.llm.model": "fake",
        "spark.llm.reorderRows.enabled": "false",
        "spark.executorEnv.PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        **settings,
    }
    command = [sys.executable, "-c", app, json.dumps(confs), str(rows)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_a_budget_holds_over_two_executors():
    cost = run({"spark.llm.engine.kind": "fake", "spark.llm.budget": "20ktok"}, 4000)
    assert (cost["rows"], cost["executors"]) == (4000, 2)
    assert 20_000 * 0.95 <= cost["spent"] <= 20_000 * 1.02
    assert cost["answered"] + cost["over"] == 4000


def test_requests_per_minute_hold_over_two_executors():
    arrived = []

    class Engine(FakeEngine):
        def submit(self, requests, sampling):
            arrived.append(time.monotonic())
            return super().submit(requests, sampling)

    server = FakeServer(Engine())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    cost = run(
        {
            "spark.llm.engine.kind": "openai",
            "spark.llm.engine.endpoint": f"http://127.0.0.1:{server.server_address[1]}/v1",
            "spark.llm.limits.rpm": "600",
        },
        200,
    )
    server.shutdown()
    assert cost["answered"] == len(arrived) == 200
    # Ten a second, and one second's worth at once: they cannot all have come sooner. Later they may, on a busy machine.
    assert arrived[-1] - cost["started"] >= (200 - 11) / 10


RETRY = """
import json, re, sys
from pyspark import TaskContext
from pyspark.sql import SparkSession
from spark_llm import metrics
builder = SparkSession.builder.master("local[1,2]")
for key, value in json.loads(sys.argv[1]).items():
    builder = builder.config(key, value)
spark = builder.getOrCreate()

def once(batches):
    rows = list(batches)
    if TaskContext.get().attemptNumber() == 0:
        raise ValueError("the first attempt fails when it has all answers")
    yield from rows

frame = spark.sql("SELECT id, llm('ECHO', concat('row ', id), max_tokens => 16) a FROM range(0, %d, 1, 1)" % int(sys.argv[2]))
rows = frame.mapInArrow(once, frame.schema).collect()
cost = metrics.total(metrics.last_query(spark))
line = next(l for l in metrics.explain_last(spark).splitlines() if l.strip().startswith("budget"))
print(json.dumps({"rows": len(rows), "answered": sum(r.a is not None for r in rows),
                  "last_attempt": cost.prompt_tokens + cost.generated_tokens,
                  "spent": int(re.search("-> ([0-9,]+) tok spent", line)[1].replace(",", ""))}))
"""


def test_an_attempt_that_failed_has_spent_what_its_answers_took():
    fake = {"spark.llm.engine.kind": "fake"}
    cost = run({**fake, "spark.llm.budget": "1Mtok"}, 300, RETRY)
    assert (cost["rows"], cost["answered"]) == (300, 300)
    assert cost["spent"] == 2 * cost["last_attempt"]
