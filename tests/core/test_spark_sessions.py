"""Sessions of each kind, each in a process of its own, as a JVM takes jars and extensions only when it starts."""

import os
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.spark


def run(script):
    code = textwrap.dedent(script)
    hidden = {"PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON", "SPARK_HOME", "SPARK_REMOTE"}
    environ = {key: value for key, value in os.environ.items() if key not in hidden}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environ
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


CLASSIC = """
import dataclasses
import spark_llm
from spark_llm import functions as LF
from pyspark.sql import SparkSession, functions as F

@dataclasses.dataclass
class Point:
    a: int
    b: str | None

builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
spark = spark_llm.configure(builder, engine_kind="fake").getOrCreate()
df = spark.createDataFrame([("Paris", 5), (None, None)], "city string, stars int")
echo = LF.llm("ECHO", F.col("city").alias("text"), "stars")
per_row = LF.llm(F.concat(F.lit("ECHO "), "city"), "*")
typed = LF.llm("x", "city", return_type=Point, on_error="struct", temperature=0.5, max_tokens=9, seed=3)
# without ORDER BY rows come as they were asked
first, second = sorted(df.select(echo, per_row, typed).collect(), key=lambda row: row[0] is None)
assert first[0] == '{"stars": 5, "text": "Paris"}', first
assert first[1] == '{"city": "Paris", "stars": 5}', first
assert isinstance(first[2].value.a, int) and first[2].error is None, first
assert second[0] is None and second[1] is None and second[2].value is None, second
try:
    df.select(LF.llm("x", "city", on_error="ignore"))
    raise SystemExit("no error")
except Exception as error:
    found = spark_llm.from_exception(error)
    assert (found.condition, found.sqlstate) == ("LLM_INVALID_OPTION", "22023"), error
spark.conf.set("spark.llm.engine.kind", "openai")
try:
    df.select(LF.llm("x", "city", model="m")).collect()
    raise SystemExit("no error")
except Exception as error:
    found = spark_llm.from_exception(error)
    assert (found.condition, found.sqlstate) == ("LLM_INVALID_CONF", "22023"), error
spark_llm.register(spark)
spark_llm.configure(SparkSession.builder)
"""

LIVE = """
import spark_llm
from spark_llm import functions as LF
from pyspark.sql import SparkSession

def fails():
    try:
        spark_llm.configure(SparkSession.builder)
    except spark_llm.SparkLLMError as error:
        assert "spark_llm.register(spark)" in str(error)
        return True

spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
assert fails()
spark.stop()
assert fails()
spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
spark_llm.register(spark)
spark_llm.register(spark)
spark.conf.set("spark.llm.engine.kind", "fake")
assert spark.sql("SELECT llm('ECHO', id) FROM range(1)").first()[0] == '{"id": 0}'
assert spark.range(1).select(LF.llm("ECHO", "id")).first()[0] == '{"id": 0}'
"""

CONNECT = """
import warnings
warnings.simplefilter("ignore")
import spark_llm
from spark_llm import functions as LF
from pyspark.sql import SparkSession, functions as F

builder = spark_llm.configure(SparkSession.builder.remote("local[1]"), engine_kind="fake")
spark = builder.getOrCreate()
spark_llm.register(spark)
df = spark.createDataFrame([("Paris", 5)], "city string, stars int")
row = df.select(LF.llm("ECHO", F.col("city").alias("t"), "*"), LF.llm("x", "city", return_type=bool, seed=1)).first()
assert row[0] == '{"city": "Paris", "stars": 5, "t": "Paris"}', row
assert isinstance(row[1], bool), row
"""


@pytest.mark.parametrize("script", [CLASSIC, LIVE, CONNECT], ids=["classic", "live", "connect"])
def test_session(script):
    if script is CONNECT:
        pytest.importorskip("grpc")
    run(script)
