"""Run by the doctor as a process of its own: a Spark session with the jar, one DESCRIBE, one query.

The last line of standard output is a JSON object: `{"function": …, "answer": …}` or `{"error": …}`.
"""

from __future__ import annotations

import json
import os
import sys


def main(jar: str) -> int:
    """Asks a local session for `llm` and one answer of the fake engine.

    Args:
        jar: Path of the jar to put on the class path.
    """
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    from spark_llm.session import PLUGIN

    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    settings = {
        "spark.jars": jar,
        "spark.plugins": PLUGIN,
        "spark.llm.engine.kind": "fake",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.memory": "512m",
        "spark.sql.shuffle.partitions": "1",
    }
    builder = SparkSession.builder.master("local[1]").appName("spark-llm doctor")
    for key, value in settings.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    try:
        described = spark.sql("DESCRIBE FUNCTION llm").collect()
        name = str(described[0][0]).removeprefix("Function:").strip()
        answer = spark.sql("SELECT llm('Is it there?', id) FROM range(1)").collect()[0][0]
        found = {"function": name, "answer": str(answer)}
    except PySparkException as error:
        found = {"error": f"{type(error).__name__}: {str(error).strip()[:400]}"}
    finally:
        spark.stop()
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
