"""A second attempt of a slow task, on another machine, changes neither answers nor the measured field order."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pyspark
import pytest

from spark_llm import session_conf

pytestmark = [pytest.mark.spark, pytest.mark.slow]

SPEEDY = {
    "spark.speculation": "true",
    "spark.speculation.interval": "100ms",
    "spark.speculation.multiplier": "1.5",
    "spark.speculation.quantile": "0.5",
    "spark.speculation.minTaskRuntime": "200ms",
    "spark.llm.engine.kind": "fake",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "OFF",
    "spark.executor.memory": "600m",
    "spark.executor.cores": "1",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
}

APP = """
import json, sys, time
from pyspark import TaskContext
from pyspark.sql import SparkSession
builder = SparkSession.builder.master(sys.argv[1])
for key, value in json.loads(sys.argv[2]).items():
    builder = builder.config(key, value)
spark = builder.getOrCreate()
while spark._jsc.sc().statusTracker().getExecutorInfos().__len__() < 3:
    time.sleep(0.2)

def slow(v):
    context = TaskContext.get()
    if context.attemptNumber() == 0 and context.partitionId() == 1 and v % 100 == 0:
        time.sleep(30)
    return v

spark.udf.register("slow", slow, "bigint")
sql = '''SELECT id, llm('p', struct(text, k)) a FROM
         (SELECT id, concat('t', {}) text, concat('k', id % 9, repeat(' k', 50)) k FROM range(0, 1000, 1, 4))'''
spark.sql(sql.format("id")).collect()
spark.sparkContext.setJobGroup("slowed", "")
frame = spark.sql(sql.format("slow(id)"))
rows = sorted(frame.collect())
tracker = spark.sparkContext.statusTracker()
stages = {s for job in tracker.getJobIdsForGroup("slowed") for s in tracker.getJobInfo(job).stageIds}
store = spark._jsc.sc().statusStore()
def killed():
    return sum(store.lastStageAttempt(s).numKilledTasks() for s in stages if tracker.getStageInfo(s))
# the first attempt counts as killed when its Python worker has ended
deadline = time.monotonic() + 60
while not killed() and time.monotonic() < deadline:
    time.sleep(0.5)
if not killed():
    print("no second attempt", flush=True)
    sys.exit()
assert rows == sorted(spark.sql(sql.format("id")).collect())
plan = frame._jdf.queryExecution().executedPlan()
assert "fieldOrder=[k, text] (measured in the exchange)" in plan.toString()
print("fine", flush=True)
"""


def launch(log, host, *arguments):
    env = {**os.environ, "SPARK_HOME": str(Path(pyspark.__file__).parent), "SPARK_LOCAL_IP": host}
    command = [f"{env['SPARK_HOME']}/bin/spark-class", *arguments]
    with log.open("w") as out:
        return subprocess.Popen(command, env=env, stdout=out, stderr=subprocess.STDOUT)


def await_text(log, text):
    deadline = time.monotonic() + 60
    while text not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.2)
    return log.read_text()


def test_speculation(tmp_path):
    started = []
    try:
        log = tmp_path / "master.log"
        deploy = "org.apache.spark.deploy"
        started.append(
            launch(
                log,
                "127.0.0.1",
                f"{deploy}.master.Master",
                *("--host", "127.0.0.1", "--port", "0", "--webui-port", "0"),
            )
        )
        said = await_text(log, "New state: ALIVE")
        url = said.split("Starting Spark master at ")[1].split()[0]
        # Spark starts no second attempt on the same host
        for host in ("127.0.0.2", "127.0.0.3"):
            log = tmp_path / f"{host}.log"
            arguments = ("--host", host, "--webui-port", "0", "--cores", "1", "--memory", "700m")
            work = ("--work-dir", str(tmp_path / host))
            started.append(launch(log, host, f"{deploy}.worker.Worker", url, *arguments, *work))
            await_text(log, "Successfully registered with master")
        settings = json.dumps({**session_conf(), **SPEEDY})
        done = subprocess.run(
            [sys.executable, "-c", APP, url, settings],
            env={**os.environ, "PYSPARK_PYTHON": sys.executable},
            capture_output=True,
            text=True,
            timeout=240,
        )
        if done.stdout.strip().endswith("no second attempt"):
            pytest.skip("Spark started no second attempt: this machine is too busy")
        assert done.stdout.strip().endswith("fine"), done.stderr[-3000:]
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(30)
