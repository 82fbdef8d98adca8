"""llm() on a real vLLM engine with the demo model, started by the first call of this session."""

import importlib.util
import json
import os
import re
import shutil
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from urllib.request import urlopen

import pytest

from spark_llm import from_exception, metrics
from spark_llm.demo import plain_udf
from spark_llm.demo.run import MODEL
from spark_llm.demo.tables import shop_tables
from spark_llm.engine.metrics_poll import COUNTERS, PATH, parse
from spark_llm.engine.uds import get_json, get_text
from spark_llm.engine.wire import PROGRESS_PATH
from spark_llm.interrupt import cancel_on_interrupt

pytestmark = [
    pytest.mark.spark,
    pytest.mark.vllm,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="needs the cpu or gpu extra"),
]

SETTINGS = {
    "spark.llm.engine.kind": "vllm",
    "spark.llm.model": str(MODEL),
    "spark.llm.engine.maxModelLen": "512",
    "spark.llm.batchRows": "32",
    # in bfloat16 a row's answer may depend on which other rows share its step
    "spark.llm.engine.dtype": "float32",
}


@pytest.fixture(scope="module")
def engine(spark):
    """The session asks vLLM; gives the state file of its engine."""
    for key, value in SETTINGS.items():
        spark.conf.set(key, value)
    tables = shop_tables(seed=5, rows=400)
    for name in ("reviews", "tickets"):
        spark.createDataFrame(tables[name].to_pandas()).repartition(2).cache().createOrReplaceTempView(name)
    spark.sql("SELECT llm('Say hello.') a").collect()
    address = host(spark).current().get()
    plain_udf.register(
        spark,
        SETTINGS,
        {"SPARK_LLM_ENGINE_SOCKET": address.socket(), "SPARK_LLM_ENGINE_STATE": address.state()},
        name="plain_vllm",
    )
    yield Path(address.state())
    host(spark).stop()
    for key in SETTINGS:
        spark.conf.unset(key)
    spark.conf.set("spark.llm.engine.kind", "fake")


def host(spark):
    return spark._jvm.org.apache.spark.sql.llm.EngineHost


def state(file):
    return json.loads(file.read_text())


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


def test_socket_and_folder_are_private(engine):
    assert engine.parent.stat().st_mode & 0o777 == 0o700
    assert Path(state(engine)["socket"]).stat().st_mode & 0o777 == 0o600


def test_same_answers_as_a_plain_udf(spark, engine):
    question = "Which order number is named in the ticket?"
    ours = spark.sql(f"SELECT id, llm('{question}', text) a FROM tickets WHERE id <= 60").collect()
    plain = spark.sql(
        f"SELECT id, plain_vllm('{question}', to_json(struct(text))) a FROM tickets WHERE id <= 60"
    )
    assert sorted(ours) == sorted(plain.collect())
    assert len({r.a for r in ours}) > 30


def test_prefix_cache_and_counts(spark, engine):
    spark.sql("SELECT llm('Is this review positive?', text) FROM reviews WHERE id <= 80").collect()
    cost = metrics.total(metrics.last_query(spark))
    assert cost.rows == 80
    assert 0 < cost.requests <= 80
    assert cost.prompt_tokens > cost.cached_prompt_tokens > 0
    assert cost.generated_tokens >= cost.requests


def test_typed_answers(spark, engine):
    row = spark.sql(
        """SELECT llm('Is this review positive?', text, return_type => 'BOOLEAN') b,
                  llm('Rate the review from 1 to 5.', text, return_type => 'INT') i,
                  llm('Rate the review from 1 to 5.', text, return_type => 'DOUBLE') d,
                  llm('List the products named in the text as a JSON array.', text,
                      return_type => 'ARRAY<STRING>', on_error => 'struct') l,
                  llm('Give topic and urgent as JSON.', text,
                      return_type => 'STRUCT<topic: STRING, urgent: BOOLEAN>', on_error => 'struct') s
           FROM reviews WHERE id = 1"""
    ).head()
    assert isinstance(row.b, bool)
    assert isinstance(row.i, int)
    assert isinstance(row.d, float)
    assert isinstance(row.l.value, list) or row.l.error.condition == "LLM_OUTPUT_INVALID"
    assert isinstance(row.s.value.urgent, bool) or row.s.error.condition == "LLM_OUTPUT_INVALID"


def test_row_longer_than_the_context(spark, engine):
    rows = spark.sql(
        """SELECT id, llm('Copy the text.', struct(if(id = 1, repeat('long ', 2000), text) AS text),
                          on_error => 'struct', max_tokens => 8) a
           FROM reviews WHERE id <= 4 ORDER BY id"""
    ).collect()
    assert rows[0].a.error.condition == "LLM_PROMPT_TOO_LONG"
    assert "512" in rows[0].a.error.message
    assert [r.a.error for r in rows[1:]] == [None] * 3


def test_ten_megabyte_row(spark, engine):
    row = spark.sql("SELECT llm('Copy the text.', repeat('x', 10000000), on_error => 'struct') a").head()
    assert row.a.error.condition == "LLM_PROMPT_TOO_LONG"


def test_control_characters(spark, engine):
    frame = spark.createDataFrame([('"a"\\\n\t\x01 € 🎉',)], "text STRING")
    frame.createOrReplaceTempView("odd")
    assert spark.sql("SELECT llm('Copy the text.', text) a FROM odd").head().a is not None


def test_its_metrics_reach_the_metric_system_and_the_report(spark, engine, conf, tmp_path):
    conf("spark.llm.report.dir", str(tmp_path))
    before = at_rest(spark, engine)
    spark.sql("SELECT llm('What is it about?', text, title, max_tokens => 24) FROM reviews").collect()
    cost = metrics.last_query(spark)[0]
    data = json.loads(Path(metrics.last_report(spark)).with_suffix(".json").read_text())
    gained = at_rest(spark, engine) - before
    assert gained["prompt_tokens"] == gained["prefix_cache_queries"] == cost.prompt_tokens
    assert gained["prefix_cache_hits"] == cost.cached_prompt_tokens
    assert gained["generation_tokens"] == cost.generated_tokens
    readings = [each["metrics"] for each in data["engines"]]
    assert len(readings) > 1
    assert max(each["num_requests_running"] for each in readings) > 0
    assert max(each["kv_cache_usage_perc"] for each in readings) > 0
    page = Path(metrics.last_report(spark)).read_text()
    assert "Read from the engines of the executors every two seconds" in page
    if keep := os.environ.get("SPARK_LLM_KEEP_REPORT"):
        shutil.copy(metrics.last_report(spark), keep)


def engine_counts(spark):
    """The engine's counters in Spark's metric system."""
    with urlopen(f"{spark.sparkContext.uiWebUrl}/metrics/prometheus/") as answer:
        found = re.findall(r"LLMPlugin_engine_(\w+)_Count\S* (\d+)", answer.read().decode())
    return {name: int(value) for name, value in found}


def at_rest(spark, engine):
    """The same, once the engine has nothing to do and the metric system tells what the engine's own page tells."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        idle = under_way(engine) == 0
        page = parse(get_text(state(engine)["socket"], PATH) or "")
        own = {name: int(page[name]) for name in COUNTERS if name in page}
        told = engine_counts(spark)
        if idle and own and own == {name: told[name] for name in own}:
            return Counter(own)
        time.sleep(0.1)
    raise AssertionError(f"the engine says {own}, the metric system {told}, requests under way: {not idle}")


@pytest.mark.reliability("kill -9 of the engine in mid-query", "started again; no row lost or doubled")
def test_engine_killed_in_mid_query(spark, engine):
    question = "Which product is named in the review?"
    before = sorted(spark.sql(f"SELECT id, llm('{question}', text) a FROM reviews WHERE id <= 300").collect())
    first = state(engine)

    def kill_soon():
        time.sleep(0.5)
        os.kill(first["pid"], signal.SIGKILL)

    killer = threading.Thread(target=kill_soon)
    killer.start()
    again = spark.sql(f"SELECT id, llm('{question}', text) a FROM reviews WHERE id <= 300").collect()
    killer.join()
    assert sorted(again) == before
    spark.sql("SELECT llm('Say hello.') a").collect()
    assert state(engine)["pid"] != first["pid"]


def under_way(engine):
    told = get_json(state(engine)["socket"], PROGRESS_PATH)
    return told["requests"] if told else 0


def cancel_when_busy(engine, cancel, seen):
    """Cancels once the engine has requests; notes how long they were still there."""
    deadline = time.monotonic() + 60
    while not under_way(engine) and time.monotonic() < deadline:
        time.sleep(0.05)
    seen["busy"] = under_way(engine)
    began = time.monotonic()
    cancel()
    while under_way(engine) and time.monotonic() < began + 30:
        time.sleep(0.05)
    seen["left"], seen["seconds"] = under_way(engine), time.monotonic() - began


@pytest.mark.reliability("cancel of the job, Ctrl-C", "its requests end in the engine; the next query runs")
@pytest.mark.parametrize("way", ["cancelJobGroup", "Ctrl-C"])
def test_cancel_ends_the_requests_in_the_engine(spark, engine, way, record_property):
    """A cancelled query with thousands of rows to go -> no request of it left in the engine."""
    spark.sql("SELECT llm('Say hello.') a").collect()
    seen = {}
    before = signal.getsignal(signal.SIGINT)
    if way == "Ctrl-C":
        assert cancel_on_interrupt(spark)
        cancel = lambda: os.kill(os.getpid(), signal.SIGINT)  # noqa: E731
    else:
        cancel = lambda: spark.sparkContext.cancelJobGroup("long")  # noqa: E731
    spark.sparkContext.setJobGroup("long", "a long query", interruptOnCancel=False)
    thread = threading.Thread(target=cancel_when_busy, args=(engine, cancel, seen))
    thread.start()
    try:
        with pytest.raises((KeyboardInterrupt, Exception)):
            spark.sql(
                "SELECT llm('Copy the number.', id, max_tokens => 200) FROM range(0, 20000, 1, 2)"
            ).collect()
        thread.join()
    finally:
        signal.signal(signal.SIGINT, before)
        spark.sparkContext.setLocalProperty("spark.jobGroup.id", None)
    record_property("seconds_to_abort", seen["seconds"])
    print(way, seen)  # how long it took is a figure, not a promise
    assert seen["busy"] > 0
    assert seen["left"] == 0
    assert spark.sql("SELECT llm('Say hello.') a").count() == 1


def test_another_model_replaces_the_idle_engine_and_a_missing_one_says_so(spark, engine, conf, tmp_path):
    conf("spark.llm.model", str(tmp_path / "missing"))
    with pytest.raises(Exception, match=r"\[LLM_MODEL_NOT_FOUND\]") as raised:
        spark.sql("SELECT llm('Say hello.') a").collect()
    assert from_exception(raised.value).sqlstate == "42704"


@pytest.mark.reliability("a model whose weights cannot be read", "LLM_ENGINE_FAILED with the end of the log")
@pytest.mark.slow
def test_engine_that_exits_at_start(spark, engine, conf, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(MODEL, broken)
    (broken / "model.safetensors").write_bytes(b"no weights")
    conf("spark.llm.model", str(broken))
    with pytest.raises(Exception, match=r"\[LLM_ENGINE_FAILED\]") as raised:
        spark.sql("SELECT llm('Say hello.') a").collect()
    message = str(raised.value)
    log = next(word for word in message.split() if word.rstrip(".").endswith("engine.log")).rstrip(".")
    assert Path(log).exists()
