"""Processes killed with SIGKILL, each in a Spark of its own: no row lost or doubled, nothing left behind."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from spark_llm import session_conf
from spark_llm.demo.run import MODEL

pytestmark = [pytest.mark.spark, pytest.mark.slow]

QUIET = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false", "spark.log.level": "OFF"}

APP = """
import json, os, sys
from pyspark.sql import SparkSession
builder = SparkSession.builder.master(sys.argv[1])
for key, value in json.loads(sys.argv[2]).items():
    builder = builder.config(key, value)
spark = builder.getOrCreate()
"""

KILL_WORKERS = (
    APP
    + """
import signal, subprocess, threading, time
spark.sql("SELECT llm('p', id) FROM range(10)").collect()
jvm = spark._jvm.java.lang.ProcessHandle.current().pid()
killed = []

def workers():
    tree = subprocess.run(["ps", "-ww", "-eo", "pid=,ppid=,args="], capture_output=True, text=True).stdout.splitlines()
    rows = [line.split(None, 2) for line in tree]
    daemons = {pid for pid, parent, args in rows if int(parent) == jvm and "pyspark.daemon" in args}
    return [int(pid) for pid, parent, args in rows if parent in daemons]

def kill():
    while len(killed) < 2:
        for pid in workers()[:1]:
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
        time.sleep(0.4)

threading.Thread(target=kill, daemon=True).start()
answers = spark.sql("SELECT id, llm('p', concat('row ', id)) a FROM range(0, 200000, 1, 4)")
row = answers.selectExpr("count(*) n", "count(DISTINCT id) ids", "count(a) a", "sum(crc32(concat(id, a))) s").head()
check = spark.sql("SELECT id, llm('p', concat('row ', id)) a FROM range(0, 200000, 1, 4)")
assert len(killed) == 2
assert row == check.selectExpr("count(*) n", "count(DISTINCT id) ids", "count(a) a", "sum(crc32(concat(id, a))) s").head()
assert (row.n, row.ids, row.a) == (200000, 200000, 200000), row
print("fine", flush=True)
"""
)

KILL_EXECUTOR = (
    APP
    + """
import signal, subprocess, threading, time
jvm = spark._jvm.java.lang.ProcessHandle.current().pid()
asked = "SELECT id, llm('p', concat('row ', id)) a FROM range(0, 24000, 1, 4)"
check = "count(*) n", "count(DISTINCT id) ids", "count(a) a", "sum(crc32(concat(id, a))) s"
calm = spark.sql(asked).selectExpr(*check).head()
tracker = spark.sparkContext.statusTracker()
killed, ended = [], threading.Event()

def in_the_middle():
    stages = [(stage, tracker.getStageInfo(stage)) for stage in tracker.getActiveStageIds()]
    return [s for s, now in stages if now and now.numTasks == 8 and now.numCompletedTasks >= 2 and now.numActiveTasks >= 2]

def kill():
    while not (stages := in_the_middle()):
        if ended.wait(0.01):
            return
    tree = subprocess.run(["ps", "-ww", "-eo", "pid=,ppid=,args="], capture_output=True, text=True).stdout.splitlines()
    rows = [line.split(None, 2) for line in tree]
    pids = [int(p) for p, parent, args in rows if int(parent) == jvm and "CoarseGrainedExecutorBackend" in args]
    assert len(pids) == 2, rows
    os.kill(pids[0], signal.SIGKILL)
    killed.append(stages[0])

thread = threading.Thread(target=kill)
thread.start()
row = spark.sql(asked).selectExpr(*check).head()
ended.set()
thread.join()
assert killed, "no moment with two tasks done and two running"
stage = tracker.getStageInfo(killed[0])
assert stage.numFailedTasks or stage.currentAttemptId, stage
assert row == calm, (row, calm)
assert (row.n, row.ids, row.a) == (24000, 24000, 24000), row
print("fine", flush=True)
"""
)

ASK_AND_WAIT = (
    APP
    + """
import time
spark.sql("SELECT llm('Say hello.')").collect()
state = spark._jvm.org.apache.spark.sql.llm.EngineHost.current().get().state()
print("ready", spark._jvm.java.lang.ProcessHandle.current().pid(), json.load(open(state))["pid"], flush=True)
time.sleep(600)
"""
)


def start(code, master, settings):
    import json

    confs = {**session_conf(), **QUIET, **settings}
    environ = {**os.environ, "PYSPARK_PYTHON": sys.executable}
    command = [sys.executable, "-c", code, master, json.dumps(confs)]
    return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def descendants(pid):
    tree = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = dict(tuple(map(int, line.split())) for line in tree.splitlines())
    found = {pid}
    while more := {p for p, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


@pytest.mark.reliability("kill -9 of an executor in mid-query", "its tasks run again; no row lost or doubled")
def test_a_killed_executor_loses_and_doubles_no_row():
    """SIGKILL of one of two executors -> the rows of an undisturbed run."""
    settings = {
        "spark.llm.engine.kind": "fake",
        # the stage with the calls is the one of eight tasks
        "spark.llm.exchange.partitions": "8",
        # what the killed one had written is missed at once
        "spark.shuffle.io.maxRetries": "1",
        "spark.shuffle.io.retryWait": "100ms",
        "spark.executor.memory": "600m",
        "spark.driver.memory": "700m",
    }
    app = start(KILL_EXECUTOR, "local-cluster[2,1,1024]", settings)
    output, _ = app.communicate(timeout=600)
    assert output.strip().endswith("fine")


@pytest.mark.reliability(
    "kill -9 of Python workers in mid-query", "their tasks run again; no row lost or doubled"
)
def test_killed_python_workers_lose_and_double_no_row():
    app = start(KILL_WORKERS, "local[2,8]", {"spark.llm.engine.kind": "fake"})
    output, _ = app.communicate(timeout=600)
    assert output.strip().endswith("fine")


@pytest.mark.reliability("kill -9 of the JVM", "engine, supervisor and workers end with it")
@pytest.mark.vllm
@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="needs the cpu or gpu extra")
@pytest.mark.parametrize("plugin", [True, False], ids=["with the plug-in", "started by the first call"])
def test_no_process_outlives_a_killed_jvm(plugin):
    settings = {"spark.llm.model": str(MODEL), "spark.llm.engine.maxModelLen": "256"}
    app = start(ASK_AND_WAIT, "local[1]", settings if plugin else {**settings, "spark.plugins": ""})
    try:
        jvm, engine = map(int, app.stdout.readline().split()[1:])
        family = descendants(jvm)
        assert engine in family
        os.kill(jvm, signal.SIGKILL)
        deadline = time.monotonic() + 30
        while any(map(alive, family)) and time.monotonic() < deadline:
            time.sleep(0.5)
        assert [pid for pid in family if alive(pid)] == []
    finally:
        app.kill()
        app.wait()
