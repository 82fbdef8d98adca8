"""What a rerun pays again after `kill -9` of the driver, and what looking answers up adds to a scan.

Part one answers a table through an endpoint that counts, kills the driver with its Python workers at half of
the answers, and runs the query again: `asked again` are the questions that the endpoint had answered before
and was asked once more. The rival is the same without the cache.

Part two fills the cache of one call with keys of real text, and scans a table of as many rows: alone, with a
look-up that always finds, and with one that never does. Rows are neither moved nor asked, so that the
difference is the look-up: hashing the fields, loading the stored answers, probing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import harness
import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from concurrent.futures import Future

    from spark_llm.engine.types import EngineAnswer

MOST_ASKED_AGAIN, MOST_ADDED = 0.02, 0.2
PIECE_ROWS = 250_000
DRIVER = """
import json, sys
from pyspark.sql import SparkSession
builder = SparkSession.builder.master("local[2]")
for key, value in json.loads(sys.argv[1]).items():
    builder = builder.config(key, value)
spark = builder.getOrCreate()
rows = int(sys.argv[2])
frame = spark.sql(f"SELECT id, llm('Is it good?', concat('review ', id)) a FROM range(0, {rows}, 1, 8)")
print("answered", frame.selectExpr("count(a) n").first().n, flush=True)
"""


def main() -> None:
    """Measures and reports; exits 0 whatever the gates say."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument(
        "--rows", type=int, nargs="*", default=[20_000], help="rows of part one (default 20000)"
    )
    parser.add_argument("--conf", nargs="*", default=[], metavar="KEY=VALUE", help="settings of part one")
    parser.add_argument(
        "--keys",
        type=int,
        nargs="*",
        default=[100_000, 1_000_000, 10_000_000],
        help="stored keys of part two",
    )
    parser.add_argument("--text", type=Path, help="Parquet file with real text for part two")
    parser.add_argument("--column", default="text", help="its column of text")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", default="8g", help="memory of the driver in part two")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    gates: dict[str, dict[str, Any]] = {}
    more = dict(entry.split("=", 1) for entry in options.conf)
    for n_rows in options.rows:
        pair = [killed(n_rows, more, cache=cache) for cache in (True, False)]
        gates[f"finished rows asked again after kill -9, {n_rows} rows"] = harness.gate(
            pair[0]["asked again share"], MOST_ASKED_AGAIN, at_least=False
        )
        rows += pair
    if options.text:
        for keys in options.keys:
            rows += looked_up(options, keys)
        for row in rows:
            if row.get("keys") == max(options.keys, default=0) and "added share" in row:
                gates[f"added to a scan, {row['case']}, {row['keys']} keys"] = harness.gate(
                    row["added share"], MOST_ADDED, at_least=False
                )
    harness.report(rows, gates, options.json)


def killed(n_rows: int, more: dict[str, str], *, cache: bool) -> dict[str, Any]:
    """One run killed at half of its answers, and one to the end."""
    from spark_llm import session_conf
    from spark_llm.engine.fake import FakeEngine
    from spark_llm.engine.fake_server import FakeServer

    class Counting(FakeEngine):
        def __init__(self) -> None:
            super().__init__()
            self.answered: set[str] = set()
            self.times = 0

        def submit(self, requests: Any, sampling: Any) -> Future[list[EngineAnswer]]:
            done = super().submit(requests, sampling)
            for request in requests:
                found = re.search(r"review (\d+)", request.user)
                assert found is not None
                self.answered.add(found.group(1))
                self.times += 1
            return done

    engine = Counting()
    server = FakeServer(engine)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  a killed client hangs up
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        conf = {
            **session_conf(),
            "spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false", "spark.log.level": "OFF",
            "spark.llm.engine.kind": "openai", "spark.llm.model": "fake",
            "spark.llm.engine.endpoint": f"http://127.0.0.1:{server.server_port}/v1",
            "spark.llm.cache.enabled": str(cache).lower(), "spark.llm.cache.dir": f"{folder}/cache",
            "spark.sql.warehouse.dir": f"{folder}/warehouse", **more,
        }  # fmt: skip
        first = start(conf, n_rows)
        began = time.monotonic()
        while len(engine.answered) < n_rows / 2:
            assert first.poll() is None, "the first run ended before it was killed"
            time.sleep(0.01)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        ran_s = time.monotonic() - began
        time.sleep(1)
        finished, engine.answered, engine.times = engine.answered, set(), 0
        second = start(conf, n_rows)
        told, _ = second.communicate()
        assert f"answered {n_rows}" in told.decode(), told
        files = len(list(Path(folder).glob("cache/call=*/*.parquet")))
    server.shutdown()
    again = len(finished & engine.answered)
    return {
        "case": "killed, cache" if cache else "killed, no cache",
        "rows": n_rows,
        "finished": len(finished),
        "asked again": again,
        "asked again share": again / len(finished),
        "requests of the rerun": engine.times,
        "killed after s": ran_s,
        "files": files,
    }


def start(conf: dict[str, str], n_rows: int) -> subprocess.Popen[bytes]:
    """A driver in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, json.dumps(conf), str(n_rows)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
        env={**os.environ, "PYSPARK_PYTHON": sys.executable},
    )  # fmt: skip


def looked_up(options: argparse.Namespace, n_keys: int) -> list[dict[str, Any]]:
    """Scans of `n_keys` rows of real text beside a cache of `n_keys` answers."""
    from pyspark.sql import SparkSession

    from spark_llm import session_conf

    results: list[dict[str, Any]] = []
    os.environ["PYSPARK_PYTHON"] = sys.executable
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            **session_conf(),
            "spark.driver.memory": options.memory, "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false", "spark.log.level": "ERROR",
            "spark.llm.engine.kind": "fake", "spark.llm.cache.dir": f"{folder}/cache",
            "spark.llm.dedup.enabled": "false", "spark.llm.reorderRows.enabled": "false",
        }  # fmt: skip
        builder = SparkSession.builder.master("local[2]")
        for key, value in settings.items():
            builder = builder.config(key, value)
        spark = builder.getOrCreate()
        try:
            table = Path(folder) / "table"
            chars = write_table(table, options, n_keys)
            spark.read.parquet(str(table)).createOrReplaceTempView("t")
            scan = "SELECT text FROM t"
            asked = "SELECT text, llm('p', text) a FROM t"
            # the look-up runs for every row and the engine for none
            unasked = "SELECT text, CASE WHEN length(text) < 0 THEN llm('p', text) END a FROM t"
            spark.conf.set("spark.llm.cache.enabled", "true")
            for case, salt, sql in (("all found", "", asked), ("none found", "other", unasked)):
                fill(spark, Path(folder) / "cache", table, salt)
                plan = spark.sql(sql)._jdf.queryExecution().optimizedPlan().toString()
                kind = "broadcast" if "LookUpAnswers" in plan else "join"
                plain, took = timed(spark, [scan, sql], options.repeats)
                results.append({
                    "case": case, "rows": n_keys, "keys": n_keys, "chars a row": chars, "look-up": kind,
                    "scan s": plain[0], "with look-up s": took[0], "added share": took[0] / plain[0] - 1,
                    "scan cpu s": plain[1], "with look-up cpu s": took[1],
                })  # fmt: skip
            return results
        finally:
            spark.stop()


def timed(spark: Any, queries: list[str], repeats: int) -> list[tuple[float, float]]:
    """Median seconds, and CPU seconds of the JVM, to read every row of each query.

    The queries take turns, so that other load of the machine is shared by them, and the first turn does not
    count.
    """
    pid = spark._jvm.java.lang.ProcessHandle.current().pid()
    took: list[list[tuple[float, float]]] = [[] for _ in queries]
    for _ in range(repeats + 1):
        for sql, times in zip(queries, took, strict=True):
            begun, cpu = time.monotonic(), cpu_s(pid)
            spark.sql(sql).write.format("noop").mode("overwrite").save()
            times.append((time.monotonic() - begun, cpu_s(pid) - cpu))
    return [
        (statistics.median(t[0] for t in times[1:]), statistics.median(t[1] for t in times[1:]))
        for times in took
    ]


def cpu_s(pid: int) -> float:
    """CPU time that a process has used, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def write_table(table: Path, options: argparse.Namespace, n_rows: int) -> float:
    """Real text, repeated with a number in front until there are enough rows; returns characters a row."""
    texts = [t for t in pq.read_table(options.text, columns=[options.column])[0].to_pylist() if t]
    table.mkdir()
    chars = 0
    for begin in range(0, n_rows, PIECE_ROWS):
        piece = [f"{i} {texts[i % len(texts)]}" for i in range(begin, min(n_rows, begin + PIECE_ROWS))]
        chars += sum(map(len, piece))
        pq.write_table(
            pa.table({"text": piece}),
            table / f"{begin:09d}.parquet",
            use_dictionary=False,
            compression="zstd",
        )
    return chars / n_rows


def fill(spark: Any, cache: Path, table: Path, salt: str) -> None:
    """One file of answers per file of the table, with the keys that the JVM would give, or with others."""
    for old in cache.glob("call=*/*"):
        old.unlink()
    spark.sql("SELECT llm('p', text) a FROM (SELECT text FROM t LIMIT 1)").collect()
    (real,) = cache.glob("call=*/part-*.parquet")
    row = pq.read_table(real)
    keys = {key(text) for text in pq.read_table(min(table.glob("*")))[0].to_pylist()}
    assert (row["key_high"][0].as_py(), row["key_low"][0].as_py()) in keys, "the key is made in another way"
    if salt:
        real.unlink()
    for piece in sorted(table.glob("*")):
        found = [key(salt + text) for text in pq.read_table(piece)[0].to_pylist()]
        columns = {name: pa.nulls(len(found), row.schema.field(name).type) for name in row.column_names}
        columns["key_high"] = pa.array([k[0] for k in found], pa.int64())
        columns["key_low"] = pa.array([k[1] for k in found], pa.int64())
        columns["answer"] = pa.array([f"fake:{k[0] & 0xFFFFFFFF:08x}" for k in found])
        columns["created_at"] = pa.array(
            [row["created_at"][0].as_py()] * len(found), row.schema.field("created_at").type
        )
        pq.write_table(pa.table(columns), real.with_name(f"part-{uuid.uuid4()}.parquet"))


def key(text: str) -> tuple[int, int]:
    """SHA-256 of one STRING in Spark's row format, as two BIGINTs."""
    data = text.encode()
    padded = data + b"\0" * (-len(data) % 8)
    row = struct.pack("<qq", 0, 16 << 32 | len(data)) + padded
    high, low = struct.unpack(">qq", hashlib.sha256(row).digest()[:16])
    return high, low


if __name__ == "__main__":
    main()
