"""`spark-sql -f`, with nothing but --jars: no Python driver, no PYTHONPATH, workers without this package."""

import re
import threading

import pytest

from spark_llm.engine.fake import FakeEngine
from spark_llm.engine.fake_server import FakeServer

pytestmark = pytest.mark.spark


def test_jar_alone_answers_sql(place, blocks, golden, rows):
    assert not {"PYTHONPATH", "PYSPARK_SUBMIT_ARGS"} & place.env.keys()
    (command,) = blocks("spark-sql")
    out = place.run(command)
    assert rows(out) == golden
    # Six rows to WHERE, one of them NULL; then one for each row that is left.
    assert place.requests() == {"driver": 5 + len(golden)}


def test_jar_alone_explains_calls(place):
    out = place.run(
        "spark-sql --jars spark_llm/jars/pyspark-llm-*.jar --conf spark.llm.engine.kind=fake "
        "-e \"EXPLAIN SELECT llm('Is it good?', struct(id AS x)) FROM range(9)\""
    )
    assert "== Extended Information (LLM) ==" in out
    assert "about 9 at the call (known from the query)" in out
    assert not place.requests()


def test_progress_and_report_without_a_python_driver(place):
    """Drawn and rendered by the workers' interpreter, from the jar."""
    server = FakeServer(FakeEngine(), delay_s=0.25)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        place.run(
            "spark-sql --jars spark_llm/jars/pyspark-llm-*.jar --conf spark.llm.engine.kind=openai "
            f"--conf spark.llm.model=fake --conf spark.llm.engine.endpoint=http://127.0.0.1:{server.server_address[1]}/v1 "
            "--conf spark.llm.limits.maxConcurrentRequests=1 --conf spark.llm.progress.enabled=true "
            "--conf spark.llm.report.dir=reports --conf spark.executor.heartbeatInterval=1s "
            "-e \"SELECT llm('Is it good?', struct(id AS x)) FROM range(0, 40, 1, 8)\""
        )
    finally:
        server.shutdown()
        server.server_close()
    said = (place.root / "stderr").read_text()
    assert "call 1/1  100 % · 40 prompts · " in said
    assert re.search(r"call 1/1  \d+ % · \d+/40 prompts", said)
    (page,) = (place.root / "reports").glob("*.html")
    assert f"report of the query in reports/{page.name}" in said
    assert "40 rows → " in page.read_text().replace("<b>", "")
