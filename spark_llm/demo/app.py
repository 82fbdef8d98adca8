"""The application that ``make demo`` submits: runs the SQL examples and prints answers and what they cost."""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spark_llm import metrics
from spark_llm.demo import plain_udf
from spark_llm.demo.examples import REAL, SHOP, Example

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SHOWN_ROWS = 5
SAMPLE_ROWS = 100


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the closing table; seconds are wall-clock, plain_s is for SAMPLE_ROWS rows."""

    name: str
    rows: int
    questions: int | None
    cost: metrics.CallMetrics
    seconds: float
    sample_s: float | None = None
    plain_s: float | None = None
    same: int | None = None
    accuracy: float | None = None


def main() -> None:
    """Runs everything; see ``run.py`` for the arguments."""
    from pyspark.sql import SparkSession

    parser = argparse.ArgumentParser()
    parser.add_argument("tables", type=Path)
    parser.add_argument("examples", type=Path)
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    spark = SparkSession.builder.appName("spark_llm demo").getOrCreate()
    for file in sorted(options.tables.glob("*.parquet")):
        spark.read.parquet(str(file)).createOrReplaceTempView(file.stem)

    print("\nStarting the engine (vLLM on this machine) and asking a first question …", flush=True)
    started = time.monotonic()
    hello = spark.sql("SELECT llm('Say hello.') AS answer").head()
    print(f"  {hello.answer if hello else None!r} after {time.monotonic() - started:.0f} s", flush=True)
    conf = {k: v for k, v in spark.sparkContext.getConf().getAll() if k.startswith("spark.llm.")}
    plain_udf.register(spark, conf, _engine_address(spark))

    lines = [_run(spark, example, (options.examples / f"{example.file}.sql").read_text()) for example in SHOP]
    if options.data is not None:
        for name, sql in REAL.items():
            if (options.data / f"{name}.parquet").exists():
                spark.read.parquet(str(options.data / f"{name}.parquet")).createOrReplaceTempView(name)
                lines.append(_timed(spark, f"real: {name}", sql))
    _print_table(lines)
    spark.stop()


def _engine_address(spark: SparkSession) -> dict[str, str]:
    """Socket and state of the engine in this process: local mode has one."""
    session: Any = spark
    address = session._jvm.org.apache.spark.sql.llm.EngineHost.current().get()  # noqa: SLF001
    return {"SPARK_LLM_ENGINE_SOCKET": address.socket(), "SPARK_LLM_ENGINE_STATE": address.state()}


def _run(spark: SparkSession, example: Example, sql: str) -> Line:
    line = _timed(spark, example.file, sql.strip().rstrip(";"))
    counted = spark.sql(example.distinct_sql()).head()
    started = time.monotonic()
    ours = spark.sql(example.sample_sql("llm", SAMPLE_ROWS)).collect()
    sample_s = time.monotonic() - started
    started = time.monotonic()
    plain = {row.id: row.answer for row in spark.sql(example.sample_sql("plain", SAMPLE_ROWS)).collect()}
    plain_s = time.monotonic() - started
    judged = spark.sql(example.accuracy_sql(300)).head() if example.truth else None
    return Line(
        line.name,
        line.rows,
        counted.questions if counted else None,
        line.cost,
        line.seconds,
        sample_s * SAMPLE_ROWS / max(1, len(ours)),
        plain_s * SAMPLE_ROWS / max(1, len(plain)),
        sum(plain[row.id] == row.answer for row in ours),
        float(judged.accuracy) if judged else None,
    )


def _timed(spark: SparkSession, name: str, sql: str) -> Line:
    print(f"\n── {name} " + "─" * max(0, 90 - len(name)))
    print(sql)
    started = time.monotonic()
    frame = spark.sql(sql)
    answers = frame.collect()
    seconds = time.monotonic() - started
    calls = metrics.last_query(spark)
    for row in answers[:SHOWN_ROWS]:
        print("   ", "  |  ".join(_cell(value) for value in row))
    print(f"    … {len(answers)} rows in {seconds:.1f} s", flush=True)
    return Line(name, sum(c.rows for c in calls), None, metrics.total(calls), seconds)


def _cell(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else text[:59] + "…"


def _print_table(lines: list[Line]) -> None:
    head = (
        "query", "rows", "distinct", "requests", "prompt tokens", "from cache", "seconds",
        f"llm() s/{SAMPLE_ROWS}", f"plain UDF s/{SAMPLE_ROWS}", "same answers", "right",
    )  # fmt: skip
    body = [head]
    for line in lines:
        cost = line.cost
        share = cost.cached_prompt_tokens / cost.prompt_tokens if cost.prompt_tokens else 0.0
        body.append(
            (
                line.name,
                f"{line.rows:,}",
                f"{line.questions:,}" if line.questions is not None else "",
                f"{cost.requests:,}",
                f"{cost.prompt_tokens:,}",
                f"{share:.0%}",
                f"{line.seconds:.1f}",
                f"{line.sample_s:.1f}" if line.sample_s is not None else "",
                f"{line.plain_s:.1f}" if line.plain_s is not None else "",
                f"{line.same}/{SAMPLE_ROWS}" if line.same is not None else "",
                f"{line.accuracy:.0%}" if line.accuracy is not None else "",
            )
        )
    widths = [max(len(row[i]) for row in body) for i in range(len(head))]
    print("\nWhat it cost (one engine, 2 tasks; the plain pandas UDF asks the same engine row by row)\n")
    for row in body:
        print(
            "  ".join(
                cell.ljust(w) if i == 0 else cell.rjust(w)
                for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
        )
    print("\nThe demo model is 'right' about rows like those it was trained on, and only there.")


if __name__ == "__main__":
    main()
