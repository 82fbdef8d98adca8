"""Does the cost of a row stay flat from 10^4 to 10^7 rows, and the memory of a Python worker bounded?

Generated narrow rows go through `llm()` in Spark, local[2], to the fake engine, which answers at once; what
is left is Spark, Arrow, the shuffle, deduplication, planning and rendering. Every size runs twice: all rows
distinct, and 90 % of them duplicates of others. Each case has a session of its own, and with it fresh Python
workers; a short query before it takes what a session costs once. Microseconds per row are wall time over
rows, the best of some runs; `cpu_us_per_row` is the processor time of the JVM and its Python workers instead,
to which other work on the machine adds little.

Memory: a thread looks ten times a second at the children of the JVM in /proc. `worker_peak_mib` is the
largest VmHWM of any Python worker, the kernel's own record of the most resident memory that process ever
had, so no peak falls between two looks. The JVM's heap is fixed; `jvm_peak_mib` is its VmHWM, which includes
earlier cases.
"""

from __future__ import annotations

import argparse
import os
import threading
import time
from pathlib import Path
from typing import Any, Final, Self

import engine_path
import harness

SIZES: Final = "10000,100000,1000000,10000000"
DISTINCT, DUPLICATES = "all distinct", "90 % duplicates"
FLAT_FROM_ROWS: Final = 100_000
FLAT_RATIO: Final = 1.5
GROWTH_RATIO: Final = 1.5
LOOK_EVERY_S: Final = 0.1
QUERY: Final = "SELECT count(a) FROM (SELECT llm('Is it there?', item, shelf) AS a FROM generated)"


def main() -> None:
    """Measures and reports; exits 0 whatever the gates say."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument("--sizes", default=SIZES, help=f"rows, separated by commas (default {SIZES})")
    parser.add_argument("--heap", default="2g", help="of the JVM (default 2g)")
    parser.add_argument("--partitions", type=int, default=4, help="of the generated rows (default 4)")
    parser.add_argument(
        "--long-s", type=float, default=30, help="cases that take longer run once (default 30 seconds)"
    )
    parser.add_argument("--seed", type=int, default=7, help="not used: rows are numbered")
    parser.add_argument("--data", type=Path, help="not used: rows are generated")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for count in sorted(int(size) for size in options.sizes.split(",")):
        for kind in (DISTINCT, DUPLICATES):
            rows.append(measure(count, kind, options))
            if options.json:
                harness.write(rows, gates(rows), options.json)
    harness.report(rows, gates(rows), options.json)


def measure(count: int, kind: str, options: argparse.Namespace) -> dict[str, Any]:
    """Returns the line of one case."""
    from pyspark import SparkContext

    from spark_llm import metrics

    spark = engine_path.session(**{"spark.llm.engine.kind": "fake", "spark.driver.memory": options.heap})
    try:
        number = "id" if kind == DISTINCT else f"(id * 7919) % {max(1, count // 10)}"
        spark.range(0, count, 1, options.partitions).selectExpr(
            f"concat('item ', {number}) AS item", f"concat('shelf ', ({number}) % 100) AS shelf"
        ).createOrReplaceTempView("generated")
        gateway = SparkContext._gateway
        assert gateway is not None
        jvm = int(gateway.jvm.java.lang.ProcessHandle.current().pid())
        # Imports and compiled kernels belong to the session, not to the rows.
        spark.sql(
            "SELECT llm('Is it there?', item, shelf) FROM (SELECT * FROM generated LIMIT 2000)"
        ).collect()
        seconds: list[float] = []
        used_s: list[float] = []
        with PeakMemory(jvm) as memory:
            while len(seconds) < 3 and (not seconds or seconds[-1] < options.long_s / 3):
                began, before = time.monotonic(), cpu_of(jvm)
                spark.sql(QUERY).collect()
                seconds.append(time.monotonic() - began)
                used_s.append(cpu_of(jvm) - before)
        cost = metrics.total(metrics.last_query(spark))
    finally:
        spark.stop()
    return {
        "case": kind, "rows": count, "requests": cost.requests,
        "cached_share": cost.cached_prompt_tokens / max(1, cost.prompt_tokens),
        "wall_s": min(seconds), "us_per_row": 1e6 * min(seconds) / count,
        "cpu_us_per_row": 1e6 * min(used_s) / count,
        "worker_peak_mib": memory.worker_bytes / 2**20, "workers": len(memory.workers),
        "jvm_peak_mib": memory.jvm_bytes / 2**20,
    }  # fmt: skip


class PeakMemory:
    """Largest VmHWM of a JVM and of its Python workers, while it is open.

    Args:
        jvm: process id.
    """

    def __init__(self, jvm: int) -> None:
        self._jvm = jvm
        self.worker_bytes = self.jvm_bytes = 0
        self.workers: set[int] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look_often, daemon=True)

    def __enter__(self) -> Self:
        """Starts looking."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Looks once more."""
        self._stop.set()
        self._thread.join()
        self._look()

    def _look_often(self) -> None:
        while not self._stop.wait(LOOK_EVERY_S):
            self._look()

    def _look(self) -> None:
        self.jvm_bytes = max(self.jvm_bytes, peak_bytes(self._jvm))
        for worker in workers_of(self._jvm):
            if found := peak_bytes(worker):
                self.workers.add(worker)
                self.worker_bytes = max(self.worker_bytes, found)


def workers_of(jvm: int) -> list[int]:
    """Returns the Python workers: the children of the JVM's daemon."""
    return [worker for daemon in children(jvm) for worker in children(daemon)]


def cpu_of(jvm: int) -> float:
    """Returns the processor seconds of the JVM and its Python workers so far."""
    return sum(cpu_s(pid) for pid in (jvm, *children(jvm), *workers_of(jvm)))


def cpu_s(pid: int) -> float:
    """Returns the processor seconds of a process so far; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    """Returns the child processes; none when it is gone."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in task.read_text().split()]
        except OSError:
            continue
    return found


def peak_bytes(pid: int) -> int:
    """Returns the most resident memory the process ever had; 0 when it is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    line = next((line for line in text.splitlines() if line.startswith("VmHWM:")), None)
    return int(line.split()[1]) * 1024 if line else 0


def gates(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns the gates that these sizes can answer."""
    found: dict[str, dict[str, Any]] = {}
    largest = max(row["rows"] for row in rows)
    for kind in (DISTINCT, DUPLICATES):
        flat = [row for row in rows if row["case"] == kind and row["rows"] >= FLAT_FROM_ROWS]
        name = "distinct" if kind == DISTINCT else "duplicates"
        if len(flat) > 1:
            costs = [row["us_per_row"] for row in flat]
            found[f"us_per_row_worst_over_best_{name}"] = harness.gate(
                max(costs) / min(costs), FLAT_RATIO, at_least=False
            )
            costs = [row["cpu_us_per_row"] for row in flat]
            found[f"cpu_us_per_row_worst_over_best_{name}"] = harness.gate(
                max(costs) / min(costs), FLAT_RATIO, at_least=False
            )
            found[f"worker_memory_largest_over_smallest_{name}"] = harness.gate(
                flat[-1]["worker_peak_mib"] / flat[0]["worker_peak_mib"], GROWTH_RATIO, at_least=False
            )
        for row in rows:
            if row["case"] == kind and row["rows"] == largest:
                wanted = largest if kind == DISTINCT else max(1, largest // 10)
                found[f"requests_over_distinct_rows_{name}"] = harness.gate(
                    row["requests"] / wanted, 1.0, at_least=False
                )
    return found


if __name__ == "__main__":
    main()
