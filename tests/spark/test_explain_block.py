"""The section of EXPLAIN about each call: estimates with their source, rules with their reasons, actual figures."""

import json
import re
from pathlib import Path

import pytest
from pyspark.errors import PySparkException

from spark_llm import metrics

pytestmark = pytest.mark.spark

PROVIDERS = "spark.sql.extendedExplainProviders"
PROVIDER = "org.apache.spark.sql.llm.ExplainCalls"
HEADING = "== Extended Information (LLM) =="
GOOD = "SELECT id, llm('Is it good?', review, product, stars) a FROM {}"
TWO = (
    "SELECT id, llm('What is it about?', review, product, stars, max_tokens => 8) a FROM {} "
    "WHERE id < 100 AND llm('Is it good?', product, return_type => 'BOOLEAN')"
)
SWITCHES = ("dedup", "reorderRows", "reorderFields", "moveFilters", "shareCalls")


@pytest.fixture(scope="module")
def tables(spark):
    """200 rows, 20 products with long names, 180 reviews; `known` has catalog statistics, `bare` has none."""
    rows = """SELECT CAST(id AS INT) id, concat('review number ', id % 180) review,
              concat('product ', id * 7919 % 20, repeat(' of the house', 20)) product, CAST(id % 5 AS INT) stars
              FROM range(0, 200, 1, 2)"""
    for name in ("known", "bare"):
        spark.sql(f"CREATE TABLE {name} USING parquet AS {rows}")
    spark.sql("ANALYZE TABLE known COMPUTE STATISTICS FOR COLUMNS id, review, product, stars")
    yield
    for name in ("known", "bare"):
        spark.sql(f"DROP TABLE {name}")


@pytest.fixture(autouse=True)
def no_history(spark):
    spark._jvm.org.apache.spark.sql.llm.PredicateHistory.clear()


def block(text):
    return re.sub(r"#\d+L?", "", text.split(HEADING)[1]).strip() + "\n"


def explained(spark, sql, mode=""):
    return block(spark.sql(f"EXPLAIN {mode} {sql}").head()[0])


def after_run(spark, frame):
    """What ``frame.explain()`` prints when it has run; the share of cached tokens depends on which worker got what."""
    frame.collect()
    text = spark._jvm.PythonSQLUtils.explainString(frame._jdf.queryExecution(), "simple")
    return re.sub(r"-> \d+ % found", "-> N % found", block(text))


def test_golden(spark, conf, tables, golden):
    parts = [
        ("with catalog statistics", TWO.format("known"), explained(spark, TWO.format("known"))),
        ("the same after the run", "", after_run(spark, spark.sql(TWO.format("known")))),
        ("without statistics", GOOD.format("bare"), explained(spark, GOOD.format("bare"))),
        ("the same after the run", "", after_run(spark, spark.sql(GOOD.format("bare")))),
    ]
    for name, sql in {
        "sampling without a seed": "SELECT llm('p', product, temperature => 1.0) a FROM known",
        "several calls over one exchange": "SELECT llm('p', product, stars) a, llm('q', stars, product) b FROM known",
        "a LIMIT": "SELECT llm('p', product) a FROM known LIMIT 5",
        "an instruction in each row": "SELECT llm(review, product) a FROM known",
    }.items():
        parts.append((name, sql, explained(spark, sql)))
    metrics.last_query(spark)  # waits until the history has these queries
    spark._jvm.org.apache.spark.sql.llm.PredicateHistory.clear()
    for switch in SWITCHES:
        conf(f"spark.llm.{switch}.enabled", "false")
    parts.append(("everything switched off", TWO.format("known"), explained(spark, TWO.format("known"))))
    text = "\n".join(f"-- {name}\n{sql}\n{text}".replace("\n\n", "\n") for name, sql, text in parts)
    golden(f"explain-block-{'.'.join(spark.version.split('.')[:2])}.txt", text)


def test_what_the_engines_decided_about_their_memory_golden(spark, conf, tables, golden):
    """Asked of the fake engine; the session then names vLLM, and engines tell as vLLM's would."""
    frame = spark.sql(GOOD.format("known"))
    frame.collect()
    conf("spark.llm.engine.kind", "vllm")
    told = {
        "allocator": "grouped",
        "pages": 1024,
        "reason": "all layers are alike: vLLM's pages waste nothing",
    }
    parts = []

    def lines(name, text):
        found = text[text.index("applied") :].splitlines()
        parts.append(f"-- {name}\n" + "\n".join(line for line in found if "Allocator: " in line))

    def tell(*memories):
        for executor, memory in zip("12", memories, strict=True):
            message = {"executor": executor, "at_ms": 0, "calls": {}, "memory": memory}
            spark._jvm.org.apache.spark.sql.llm.ClusterMetrics.receive(json.dumps(message))

    try:
        for allocator in ("auto", "jenga", "vllm"):
            conf("spark.llm.memory.allocator", allocator)
            tell(None, None)
            lines(f"{allocator}, before an engine has started", after_run(spark, frame))
            tell(told, None)
            lines(f"{allocator}, not yet run", explained(spark, GOOD.format("known")))
            lines(f"{allocator}, after the run", after_run(spark, frame))
            jenga = {
                "allocator": "jenga",
                "pages": 281,
                "reason": "12.7 % more requests fit than in vLLM's groups",
            }
            tell(told, jenga)
            lines(f"{allocator}, two engines that differ", after_run(spark, frame))
    finally:
        tell(None, None)
    golden("explain-allocator.txt", "\n".join(parts) + "\n")


@pytest.mark.parametrize("mode", ["", "EXTENDED", "FORMATTED"])
def test_starts_no_job_and_asks_no_model(spark, conf, tables, mode):
    sql = TWO.format("known")
    conf("spark.llm.fake.fail", "product")
    jobs = spark.sparkContext._jsc.sc().statusStore()
    spark.sparkContext._jsc.sc().listenerBus().waitUntilEmpty()
    before = jobs.jobsList(None).size()
    assert "shared prefix" in explained(spark, sql, mode)
    spark.sparkContext._jsc.sc().listenerBus().waitUntilEmpty()
    assert jobs.jobsList(None).size() == before
    # the same query does fail where it is run
    with pytest.raises(PySparkException, match="LLM_"):
        spark.sql(sql).collect()


def test_every_rule_has_a_line_for_each_call(spark, tables):
    text = explained(spark, TWO.format("known"))
    calls = re.split(r"^call \d+ ", text, flags=re.MULTILINE)[1:]
    assert len(calls) == 2
    rules = ("MoveFilters", "OrderPredicates", "HoistCalls", "ShareCalls", "Guards")
    for call in calls:
        for rule in (*rules, "ChooseFieldOrder", "ChooseExchange", "ReorderRows", "Dedup"):
            assert f"{rule}: " in call


def test_actual_figures_are_those_of_the_metrics(spark, tables):
    spark.sql(TWO.format("known")).collect()
    first, second = sorted(metrics.last_query(spark), key=lambda call: -call.rows)
    text = metrics.explain_last(spark)
    for call in (first, second):
        for figure in (call.rows, call.requests, call.prompt_tokens, call.generated_tokens):
            assert f"-> {figure:,}" in text
    assert first.rows == 100
    assert first.requests == 20
    assert "-> 20, 80 rows answered by the equal row before" in text


def test_the_order_measured_while_running(spark, tables):
    assert "unknown" in explained(spark, GOOD.format("bare"))
    text = after_run(spark, spark.sql(GOOD.format("bare")))
    assert "ChooseFieldOrder: [product, stars, review] (measured in the exchange)" in text
    assert "in chosen order [product, stars, review] (measured in the exchange) -> N % found" in text


def test_a_call_that_got_no_row(spark, tables):
    spark.sql(GOOD.format("known") + " WHERE id < -5").collect()
    assert re.search(r"rows .* -> 0\n", metrics.explain_last(spark))


def test_answers_shared_by_two_places_are_one_call(spark, tables):
    sql = "SELECT id FROM known WHERE llm('p', product) < 'fake:8' UNION ALL SELECT stars FROM known WHERE llm('p', product) > 'fake:8'"
    text = explained(spark, sql)
    assert "call 2" not in text
    assert "ShareCalls: evaluated once for 2 places of the query" in text


def test_calls_of_subqueries_commands_and_cached_tables(spark, tables):
    sql = "SELECT id FROM known WHERE stars = (SELECT max(length(llm('p', product))) FROM known)"
    assert "llm('p', product)" in explained(spark, sql)
    spark.sql("CREATE TABLE answered USING parquet AS SELECT llm('made', product) a FROM known")
    try:
        insert = "INSERT INTO answered SELECT llm('inserted', product) FROM known"
        assert "llm('inserted', product)" in explained(spark, insert)
        spark.sql(insert)
        assert "-> 20" in metrics.explain_last(spark)
    finally:
        spark.sql("DROP TABLE answered")
    frame = spark.sql("SELECT llm('cached', product) a FROM known").cache()
    try:
        assert "llm('cached', product)" in after_run(spark, frame.filter("a > ''"))
    finally:
        frame.unpersist()


def test_stream(spark, tmp_path):
    spark.range(5).selectExpr("concat('x', id) x").write.parquet(str(tmp_path / "in"))
    stream = spark.readStream.schema("x STRING").parquet(str(tmp_path / "in"))
    query = (
        stream.selectExpr("llm('p', x) a")
        .writeStream.format("memory")
        .queryName("explained")
        .trigger(availableNow=True)
        .start()
    )
    query.awaitTermination()
    text = block(query._jsq.explainInternal(False))
    assert "unknown (a stream) -> 5" in text
    assert "ChooseExchange: streaming" in text


@pytest.mark.parametrize(
    ("given", "then"),
    [(None, PROVIDER), ("a.b.Other", f"a.b.Other,{PROVIDER}"), (PROVIDER, PROVIDER), ("", "")],
)
def test_the_jar_alone_names_the_provider(spark, given, then):
    session = spark.newSession()
    if given is not None:
        session.conf.set(PROVIDERS, given)
    session.sql("SELECT llm('p', id) FROM range(3)")._jdf.queryExecution().optimizedPlan()
    assert session.conf.get(PROVIDERS) == then


def test_empty_provider_list_leaves_the_section_out(spark, conf):
    conf(PROVIDERS, "")
    assert HEADING not in spark.sql("EXPLAIN SELECT llm('p', id) FROM range(3)").head()[0]


def test_page_shows_real_output(spark):
    root = Path(__file__).parents[2]
    file = root / "tests/golden" / f"explain-block-{'.'.join(spark.version.split('.')[:2])}.txt"
    if not file.is_file():
        pytest.skip("no golden file for this Spark")
    shown = re.findall(r"```text\n(.*?)```", (root / "docs/explain.md").read_text(), re.DOTALL)
    assert len(shown) == 2
    for part in shown:
        assert re.sub(r"-> \d+ % found", "-> N % found", part) in file.read_text()


def test_swap_says_what_it_will_do_or_why_not(spark, conf):
    def line():
        found = spark.sql("EXPLAIN SELECT llm('p', id) FROM range(3)").head()[0]
        return re.search(r"Swap: (.*)", found)[1]

    conf("spark.llm.swap.enabled", "true")
    assert line() == "only engines that the plug-in starts can do it"
    conf("spark.llm.engine.kind", "vllm")
    assert line() == "auto, at most 4g in host memory"
    conf("spark.llm.swap.mode", "blocks")
    conf("spark.llm.swap.hostMemory", "2g")
    conf("spark.llm.swap.path", "/mnt/nvme")
    assert line() == "blocks, at most 2g in a file in /mnt/nvme"
