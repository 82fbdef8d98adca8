"""Is the result the same when something is killed every few seconds? A query again and again, and a killer.

    calm        the query once, nothing disturbed: its rows are the truth
    chaos       for --minutes: the query again and again, while every --interval seconds SIGKILL hits one of
                  python worker    of any executor
                  executor         its JVM, and with it its engine
                  endpoint         (--engine fake_server) the server; it is started again, and one request in
                                   25 goes wrong besides: 500, 429, half a body, half of the JSON
                  engine core, API server   (--engine vllm) of the executor's engine
    compare     each run's rows, as a multiset, with the calm run's

A run that fails counts as one that differs. Spark's own limits on failed attempts are raised, as a task may
be hit more often here than they allow. Which process is hit is drawn from --seed; when, and what it was just
doing, is not repeatable.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import harness

from spark_llm import from_exception, metrics, session_conf
from spark_llm.catalyst.java import use_java
from spark_llm.demo.run import MODEL

FAULTS: Final = {"500": 0.01, "429": 0.01, "drop-mid": 0.01, "truncated": 0.01}
# How often each kind is hit, relative to the others: an executor brings its engine down with it.
WEIGHTS: Final = {"python worker": 4, "executor": 1, "endpoint": 2, "engine core": 2, "API server": 2}
MARKS: Final = {
    "executor": "CoarseGrainedExecutorBackend",
    "engine core": "VLLM::EngineCore",
    "API server": "vllm.entrypoints.openai.api_server",
}
CLUSTER: Final = {"fake_server": "local-cluster[2,1,1024]", "vllm": "local-cluster[1,2,1536]"}
INTERVAL_S: Final = {"fake_server": 6.0, "vllm": 15.0}


def processes() -> dict[int, tuple[int, str]]:
    """Parent and command line of every live process, by id."""
    listed = subprocess.run(
        ["ps", "-eo", "pid=,ppid=,stat=,args="], capture_output=True, text=True, check=True
    )
    found = {}
    for line in listed.stdout.splitlines():
        pid, parent, state, command = line.split(None, 3)
        if not state.startswith("Z"):
            found[int(pid)] = (int(parent), command)
    return found


def below(root: int, table: dict[int, tuple[int, str]]) -> set[int]:
    """Processes that `root` started, and theirs."""
    found = {root}
    while more := {pid for pid, (parent, _) in table.items() if parent in found} - found:
        found |= more
    return found - {root}


class Endpoint:
    """A server with faults that is started again when it was killed.

    Args:
        faults: share of requests by fault.
        delay_s: how long each request takes at least.
    """

    def __init__(self, faults: dict[str, float], delay_s: float) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self._command = [sys.executable, "-m", "spark_llm.engine.faulty_server", "--port", str(self.port)]
        self._command += ["--faults", json.dumps(faults), "--delay", str(delay_s)]
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        """Kills the server and starts it again."""
        self.process.kill()
        self.process.wait()
        self.process = self._start()


class Killer(threading.Thread):
    """Kills something now and then until it is told to stop.

    Args:
        jvm: process id of the driver's JVM.
        endpoint: the server, where there is one.
        interval_s: seconds from kill to kill, on average.
        seed: of the choice of what is hit.
        for_s: when it ends by itself, so that the last run can.
    """

    def __init__(
        self, jvm: int, endpoint: Endpoint | None, interval_s: float, seed: int, for_s: float
    ) -> None:
        super().__init__(daemon=True)
        self._jvm, self._endpoint, self._interval_s = jvm, endpoint, interval_s
        self._random = random.Random(seed)
        self._for_s = for_s
        self._stop_now = threading.Event()
        self.kills: Counter[str] = Counter()

    def run(self) -> None:
        """The thread's work."""
        end = time.monotonic() + self._for_s
        while not self._stop_now.wait(self._interval_s * self._random.uniform(0.5, 1.5)):
            if time.monotonic() > end:
                return
            victims = self._victims()
            if not victims:
                continue
            kind = self._random.choices(list(victims), [WEIGHTS[each] for each in victims])[0]
            if kind == "endpoint" and self._endpoint is not None:
                self._endpoint.kill()
            else:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._random.choice(victims[kind]), signal.SIGKILL)
            self.kills[kind] += 1

    def stop(self) -> None:
        """Returns when nothing more is killed."""
        self._stop_now.set()
        self.join()

    def _victims(self) -> dict[str, list[int]]:
        table = processes()
        ours = sorted(below(self._jvm, table))
        found: dict[str, list[int]] = {"endpoint": [0]} if self._endpoint is not None else {}
        for kind, mark in MARKS.items():
            # The engine's watchdog has the engine's command line behind its own.
            found[kind] = [
                pid for pid in ours if mark in table[pid][1] and "engine.child" not in table[pid][1]
            ]
        daemons = {pid for pid in ours if "pyspark.daemon" in table[pid][1]}
        found["python worker"] = [pid for pid in daemons if table[pid][0] in daemons]
        return {kind: pids for kind, pids in found.items() if pids}


def settings(endpoint: Endpoint | None) -> dict[str, str]:
    """The session's conf."""
    chosen = {
        **session_conf(),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "OFF",
        "spark.sql.shuffle.partitions": "4",
        "spark.executor.memory": "700m",
        "spark.driver.memory": "700m",
        "spark.task.maxFailures": "50",
        "spark.stage.maxConsecutiveAttempts": "50",
        "spark.deploy.maxExecutorRetries": "-1",
        "spark.llm.batchRows": "64",
        "spark.pyspark.python": sys.executable,
        "spark.executorEnv.PYTHONPATH": os.environ.get("PYTHONPATH", ""),
    }
    if endpoint is None:
        return chosen | {"spark.llm.model": str(MODEL), "spark.llm.engine.maxModelLen": "512"}
    return chosen | {
        "spark.llm.engine.kind": "openai",
        "spark.llm.model": "fake",
        "spark.llm.engine.endpoint": f"http://127.0.0.1:{endpoint.port}/v1",
        "spark.llm.limits.maxConcurrentRequests": "16",
    }


def ask(spark: Any, rows: int) -> Counter[tuple[Any, ...]]:
    """The query's rows as a multiset: id, answer, condition."""
    sql = f"""SELECT id, llm('Which product is it about?', concat('note ', id, ' about ', id % 7),
                             on_error => 'struct', max_tokens => 16) a FROM range(0, {rows}, 1, 48)"""
    found = spark.sql(sql).collect()
    return Counter((row.id, row.a.value, row.a.error and row.a.error.condition) for row in found)


def chaos(spark: Any, killer: Killer, rows: int, minutes: float, calm: Counter[Any]) -> list[dict[str, Any]]:
    """Runs of the query beside the killer."""
    runs: list[dict[str, Any]] = []
    end = time.monotonic() + 60 * minutes
    killer.start()
    while time.monotonic() < end:
        began, before = time.monotonic(), killer.kills.total()
        run: dict[str, Any] = {"run": len(runs) + 1}
        try:
            found = ask(spark, rows)
        except Exception as error:  # noqa: BLE001  whatever it is, the run failed
            ours = from_exception(error)
            run |= {"equal": 0, "condition": ours.condition if ours else type(error).__name__}
        else:
            run |= {
                "equal": int(found == calm),
                "rows_missing": (calm - found).total(),
                "rows_extra": (found - calm).total(),
                "retries": metrics.last_query(spark)[0].retries,
            }
        run |= {"kills": killer.kills.total() - before, "seconds": round(time.monotonic() - began, 1)}
        print(run, flush=True)
        runs.append(run)
    killer.stop()
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", choices=list(CLUSTER), default="fake_server")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--interval", type=float, help="seconds from kill to kill; 6, or 15 for vllm")
    parser.add_argument("--rows", type=int, help="of the query; 1200, or 600 for vllm")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    use_java()
    from pyspark.sql import SparkSession

    interval_s = chosen.interval or INTERVAL_S[chosen.engine]
    rows = chosen.rows or (1200 if chosen.engine == "fake_server" else 600)
    endpoint = Endpoint(FAULTS, 0.05) if chosen.engine == "fake_server" else None
    builder = SparkSession.builder.master(CLUSTER[chosen.engine]).appName("chaos")
    for key, value in settings(endpoint).items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    gateway: Any = spark.sparkContext._gateway
    jvm = int(gateway.jvm.java.lang.ProcessHandle.current().pid())
    began = time.monotonic()
    calm = ask(spark, rows)
    calm_s = time.monotonic() - began
    assert len(calm) == rows, "the calm run lost rows"
    killer = Killer(jvm, endpoint, interval_s, chosen.seed, 60 * chosen.minutes)
    runs = chaos(spark, killer, rows, chosen.minutes, calm)
    family = below(jvm, processes())
    spark.stop()
    gateway.shutdown()
    if endpoint is not None:
        endpoint.process.kill()
    for _ in range(60):
        left = family & processes().keys()
        if not left:
            break
        time.sleep(0.5)
    kinds = {f"kills_{kind.replace(' ', '_')}": count for kind, count in sorted(killer.kills.items())}
    total = {
        "run": "all", "engine": chosen.engine, "query_rows": rows, "minutes": chosen.minutes,
        "seed": chosen.seed,
        "calm_s": round(calm_s, 1), "runs": len(runs), "equal": sum(run["equal"] for run in runs),
        "kills": killer.kills.total(), **kinds,
        "seconds": round(sum(run["seconds"] for run in runs), 1),
        "retries": sum(run.get("retries", 0) for run in runs),
    }  # fmt: skip
    disturbed = [run for run in runs if run["kills"]]
    gates = {
        "share of runs with the calm run's rows": harness.gate(total["equal"] / max(1, len(runs)), 1.0),
        "rows missing or extra": harness.gate(
            sum(run.get("rows_missing", rows) + run.get("rows_extra", 0) for run in runs), 0, at_least=False
        ),
        "runs that a kill hit": harness.gate(len(disturbed), 1),
        "kills per minute": harness.gate(total["kills"] / chosen.minutes, 30 / interval_s),
        "kinds of processes killed": harness.gate(len(killer.kills), 3),
        "processes left behind": harness.gate(len(left), 0, at_least=False),
    }
    harness.report([total, *runs], gates, chosen.json)
    sys.exit(0 if all(each["ok"] for each in gates.values()) else 1)


if __name__ == "__main__":
    main()
