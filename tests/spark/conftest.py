"""One Spark session for all tests of this folder, with the fake engine."""

import os
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from spark_llm import session_conf


@pytest.fixture(scope="session")
def spark(tmp_path_factory):
    os.environ["PYSPARK_PYTHON"] = sys.executable
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[2]").appName("spark_llm tests")
    settings = {
        **session_conf(),
        "spark.llm.engine.kind": "fake",
        "spark.sql.shuffle.partitions": "3",
        "spark.ui.port": "0",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.warehouse.dir": str(tmp_path_factory.mktemp("warehouse")),
        "spark.sql.session.timeZone": "UTC",
        "spark.driver.memory": "1g",
        # Queries of a few rows end before the second compiler pays, and it would take a core of two.
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        "spark.log.level": "ERROR",
        "spark.metrics.conf.*.sink.prometheusServlet.class": "org.apache.spark.metrics.sink.PrometheusServlet",
        "spark.metrics.conf.*.sink.prometheusServlet.path": "/metrics/prometheus",
    }
    for key, value in settings.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    yield session
    session.stop()


@pytest.fixture
def conf(spark):
    """Sets session entries for one test: ``conf("spark.llm.batchRows", "1")``."""
    touched = []

    def put(key, value):
        touched.append(key)
        spark.conf.set(key, value)

    before = {k: v for k, v in spark.sql("SET").collect() if k.startswith("spark.llm.")}
    yield put
    for key in touched:
        if key in before:
            spark.conf.set(key, before[key])
        else:
            spark.conf.unset(key)


@pytest.fixture
def decisions(spark):
    """What the rules noted on the calls of a DataFrame: ``MoveFilters applied: runs after the join``, …"""

    def of(frame):
        plan = frame._jdf.queryExecution().optimizedPlan()
        report = spark._jvm.org.apache.spark.sql.llm.Decision.report(plan)
        return [line.split("): ", 1)[1] for line in report.splitlines()]

    return of


@pytest.fixture
def golden(request):
    """Compares text with a golden file; ``SPARK_LLM_REFRESH_GOLDENS=1`` writes it instead.

    Plans differ between versions of Spark: those of a version whose text is not kept are not compared.
    """

    def compare(name, text):
        file = Path(__file__).parents[1] / "golden" / name
        others = re.sub(r"-\d+\.\d+\.txt$", "-[0-9]*.txt", name)
        if os.environ.get("SPARK_LLM_REFRESH_GOLDENS") == "1":
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
        if not file.exists() and others != name and any(file.parent.glob(others)):
            pytest.skip(f"{name} is not kept, only that of another Spark")
        assert text == file.read_text()

    return compare
