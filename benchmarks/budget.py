"""Does a query stop at spark.llm.budget, and are the answers that were paid for kept?

A generated table with more rows than any of the budgets pays for goes through `llm()` with the fake engine,
which counts its tokens: in this process, where answers come at once, and behind HTTP with a delay, where many
requests are under way when the budget ends. With 1, 2 and 4 tasks of one executor, and with two executors.

The rival is what a careful user writes without the plug-in: `mapInArrow` with the same engine, a counter in a
file that all tasks share under a lock, added to after each batch of 256 answers; a task stops before the
batch that finds the budget used up, and its other rows are NULL.

overshoot is what was spent over the budget, undershoot what was left of it, both in parts of the budget. What
was spent comes from the plan node's metrics (the rival: its counter), not from the ledger under test.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import harness

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

MASTERS = ("local[1]", "local[2]", "local[4]", "local-cluster[2,2,1024]")
BUDGETS = (20_000, 100_000, 400_000)
DELAY_S = 0.05
BATCH_ROWS = 256
MOST_ANSWER = 64


def main() -> None:
    """Measures and reports; exits 0 whatever the gates say."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument("--masters", default=";".join(MASTERS), help="Spark masters, separated by ;")
    parser.add_argument("--budgets", default=",".join(map(str, BUDGETS)), help="tokens, separated by commas")
    parser.add_argument("--no-http", action="store_true", help="only the engine in this process")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    budgets = [int(text) for text in options.budgets.split(",")]
    if options.child:
        master, file = options.child
        Path(file).write_text(json.dumps(list(measure(master, budgets, http=not options.no_http))))
        return
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for master in options.masters.split(";"):
            # A process for each master: PySpark keeps one JVM, and with it one master, per process.
            file = Path(folder) / "rows.json"
            command = [sys.executable, __file__, "--child", master, str(file), "--budgets", options.budgets]
            subprocess.run(command + ["--no-http"] * options.no_http, check=True)
            rows += json.loads(file.read_text())
            harness.report(rows, gates(rows), options.json)


def gates(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What the plug-in is held to."""
    ours = [row for row in rows if row["by"] == "spark.llm.budget"]
    return {
        "overshoot_worst": harness.gate(max(row["overshoot"] for row in ours), 0.02, at_least=False),
        "finished_answers_kept": harness.gate(min(row["kept"] for row in ours), 1.0),
        "all_rows_come_back": harness.gate(min(row["rows_back"] / row["rows"] for row in ours), 1.0),
    }


def measure(master: str, budgets: list[int], *, http: bool) -> Iterator[dict[str, Any]]:
    """Both ways to keep each budget, on one Spark."""
    from pyspark.sql import SparkSession

    from spark_llm import session_conf
    from spark_llm.engine.fake import FakeEngine
    from spark_llm.engine.fake_server import FakeServer

    os.environ["PYSPARK_PYTHON"] = sys.executable
    settings = {
        **session_conf(),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "ERROR",
        "spark.llm.engine.kind": "fake",
        "spark.llm.model": "fake",
        "spark.llm.reorderRows.enabled": "false",
        "spark.executorEnv.PYTHONPATH": os.environ.get("PYTHONPATH", ""),
    }
    builder = SparkSession.builder.master(master)
    for key, value in settings.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    server = FakeServer(FakeEngine(), delay_s=DELAY_S)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    spark.conf.set("spark.llm.engine.endpoint", f"http://127.0.0.1:{server.server_address[1]}/v1")
    tasks = spark.sparkContext.defaultParallelism
    for engine in ("fake", "openai")[: 1 + http]:
        spark.conf.set("spark.llm.engine.kind", engine)
        for budget in budgets if engine == "fake" else budgets[:1]:
            shape = {"master": master, "engine": {"fake": "in process", "openai": "HTTP, 50 ms"}[engine]}
            for by, way in (("spark.llm.budget", ours), ("count afterwards", rival)):
                if way is rival and engine == "openai":
                    continue
                yield {**shape, "by": by, "budget": budget, **way(spark, budget, tasks)}
    server.shutdown()
    spark.stop()


def table(spark: Any, budget: int, tasks: int) -> Any:
    """Rows of 40 to 640 characters, enough for three times the budget."""
    rows = budget // 30
    return spark.range(0, rows, 1, tasks).selectExpr(
        "id",
        "concat('row ', id, ': ', repeat('some words of it ', CAST(2 + pmod(hash(id), 36) AS INT))) AS text",
    )


def ours(spark: Any, budget: int, tasks: int) -> dict[str, Any]:
    """`llm()` with spark.llm.budget."""
    from spark_llm import metrics

    spark.conf.set("spark.llm.budget", f"{budget}tok")
    table(spark, budget, tasks).createOrReplaceTempView("t")
    rows = spark.sql(
        f"SELECT id, llm('What is it about?', text, max_tokens => {MOST_ANSWER}) a FROM t"
    ).collect()
    cost = metrics.total(metrics.last_query(spark))
    answered = sum(row.a is not None for row in rows)
    return {
        **outcome(budget, cost.prompt_tokens + cost.generated_tokens),
        "rows": budget // 30, "rows_back": len({row.id for row in rows}),
        "answered": answered, "kept": answered / cost.requests,
    }  # fmt: skip


def rival(spark: Any, budget: int, tasks: int) -> dict[str, Any]:
    """Counting after each batch, in a file that the tasks share."""
    descriptor, counter = tempfile.mkstemp()
    os.close(descriptor)

    def add(tokens: int) -> int:
        with Path(counter).open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            total = int(file.read() or 0) + tokens
            file.seek(0)
            file.write(str(total))
            return total

    def answer(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        from spark_llm.conf import SYSTEM_PROMPT
        from spark_llm.engine.fake import FakeEngine
        from spark_llm.engine.types import EngineRequest, Sampling

        engine = FakeEngine()
        for batch in batches:
            texts: list[str | None] = [None] * batch.num_rows
            if add(0) < budget:
                users = [f"What is it about?\n{text}" for text in batch.column("text").to_pylist()]
                requests = [EngineRequest(SYSTEM_PROMPT, user) for user in users]
                answers = engine.submit(requests, Sampling("fake", 0.0, MOST_ANSWER, None, None)).result()
                add(sum(each.prompt_tokens + each.generated_tokens for each in answers))
                texts = [each.text for each in answers]
            yield pa.RecordBatch.from_arrays(
                [batch.column("id"), pa.array(texts, pa.string())], names=["id", "a"]
            )

    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", str(BATCH_ROWS))
    rows = table(spark, budget, tasks).mapInArrow(answer, "id long, a string").collect()
    spent = int(Path(counter).read_text())
    Path(counter).unlink()
    answered = sum(row.a is not None for row in rows)
    return {
        **outcome(budget, spent),
        "rows": budget // 30, "rows_back": len({row.id for row in rows}),
        "answered": answered, "kept": 1.0,
    }  # fmt: skip


def outcome(budget: int, spent: int) -> dict[str, Any]:
    """Spent tokens against the budget."""
    over, under = max(0, spent - budget) / budget, max(0, budget - spent) / budget
    return {"spent": spent, "overshoot": over, "undershoot": under}


if __name__ == "__main__":
    main()
