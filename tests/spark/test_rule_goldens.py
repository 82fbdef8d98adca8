"""Before and after of each rule, as optimized plans, with expression ids taken out."""

import re

import pytest

pytestmark = pytest.mark.spark

# rule: (switch, queries)
RULES = {
    "isolate-calls": (
        "moveFilters",
        [
            "SELECT id FROM a WHERE llm('Is it new?', x) = 'Yes' AND c < 10",
            "SELECT a.id FROM a JOIN b ON a.id = b.id AND llm('Same?', a.x, b.z) = 'Yes'",
        ],
    ),
    "move-filters": (
        "moveFilters",
        [
            "SELECT * FROM (SELECT id, c, llm('p', x) s FROM a) WHERE c < 10 AND s = 'Yes'",
            "SELECT q.id, b.z FROM (SELECT * FROM a WHERE llm('p', x) = 'Yes') q JOIN b ON q.id = b.id",
        ],
    ),
    "order-predicates": (
        "moveFilters",
        ["SELECT id FROM a WHERE llm('p', x) LIKE 'a%' AND llm('q', x, selectivity => 0.05) = 'Yes'"],
    ),
    "hoist-calls": (
        "moveFilters",
        [
            "SELECT sum(length(s)) FROM (SELECT llm('p', x) s FROM a LIMIT 5)",
            "SELECT q.s, b.z FROM (SELECT id, llm('p', x) s FROM a) q JOIN b ON q.id = b.id",
        ],
    ),
    "share-calls": (
        "shareCalls",
        [
            "SELECT llm('p', x) s FROM a WHERE llm('p', x) LIKE 'a%'",
            "SELECT id FROM a WHERE c < 5 AND llm('p', x) = 'Yes' UNION ALL SELECT c FROM a WHERE llm('p', x) = 'No'",
            "SELECT llm('p', x, id), llm('r', c), llm('q', id, x) FROM a",
        ],
    ),
    "guards": (None, ["SELECT CASE WHEN c < 10 THEN llm('p', x) ELSE coalesce(x, llm('q', id)) END FROM a"]),
}


def without_layout(plan):
    """The layout has a golden of its own (test_explain.py); here it would stand in the way of what the rule did."""
    lines, cuts = [], []
    for line in re.sub(r", fieldOrder=\[.*?\] \(.*?\), dedup=.*?, exchange=.*", "", plan).splitlines():
        node = re.search(r"[+:]- ", line)
        column = node.start() if node else -1
        cuts = [cut for cut in cuts if cut < column]
        if re.search(r"- (LLMExchange|LLMProbe) ", line):
            cuts.append(column)
        else:
            shown = line
            for cut in reversed(cuts):
                shown = shown[:cut] + shown[cut + 3 :]
            lines.append(shown)
    return "\n".join(lines)


def normalized(plan):
    names = {}
    plan = without_layout(plan)
    plan = re.sub(r"#(\d+)L?", lambda m: "#" + names.setdefault(m.group(1), str(len(names) + 1)), plan)
    return plan.strip()


@pytest.fixture
def tables(spark):
    spark.sql(
        """CREATE OR REPLACE TEMP VIEW a AS SELECT CAST(id AS INT) id, if(id = 7, NULL, concat('x', id % 10)) x,
           CAST(id % 100 AS INT) c FROM range(0, 200, 1, 2)"""
    )
    spark.sql(
        "CREATE OR REPLACE TEMP VIEW b AS SELECT CAST(id AS INT) id, concat('z', id % 4) z FROM range(0, 20, 1, 2)"
    )
    spark._jvm.org.apache.spark.sql.llm.PredicateHistory.clear()


def optimized(spark, sql):
    frame = spark.sql(sql)
    return frame, normalized(frame._jdf.queryExecution().optimizedPlan().toString())


@pytest.mark.parametrize("rule", RULES)
def test_rule_golden(spark, tables, conf, golden, decisions, rule):
    switch, queries = RULES[rule]
    parts = []
    for sql in queries:
        plans = {}
        for when, value in (("before", "false"), ("after", "true")):
            if switch is not None:
                conf(f"spark.llm.{switch}.enabled", value)
            frame, plans[when] = optimized(spark, sql)
        if switch is not None:
            parts.append(f"-- {sql}\n-- before: spark.llm.{switch}.enabled=false\n{plans['before']}\n")
        else:
            parts.append(f"-- {sql}\n")
        noted = "".join(f"-- {line}\n" for line in dict.fromkeys(decisions(frame)))
        parts.append(f"-- after\n{plans['after']}\n{noted}")
    golden(f"rules/{rule}-{'.'.join(spark.version.split('.')[:2])}.txt", "\n".join(parts))


def test_cache_answers_golden(spark, tables, conf, golden, decisions, tmp_path):
    """The same query as more and more is stored; then the calls that are left out."""
    sql = "SELECT id, llm('p', x) FROM a WHERE c < 10"
    conf("spark.llm.cache.dir", str(tmp_path / "cache"))
    parts = []

    def show(when, sql=sql):
        frame, plan = optimized(spark, sql)
        noted = [line for line in decisions(frame) if line.startswith("CacheAnswers")]
        parts.append("\n".join([f"-- {when}", f"-- {sql}", plan, *(f"-- {line}" for line in noted), ""]))
        return frame

    def settle():
        spark._jvm.org.apache.spark.sql.llm.CacheUpkeep.settle(spark._jsparkSession)

    show("before: spark.llm.cache.enabled=false")
    conf("spark.llm.cache.enabled", "true")
    show("after: nothing is stored").collect()
    show("answers are stored")
    conf("spark.llm.cache.ttl", "1d")
    show("spark.llm.cache.ttl=1d")
    conf("spark.llm.cache.ttl", "1000000d")
    conf("spark.llm.cache.broadcastMaxSize", "1")
    show("more is stored than spark.llm.cache.broadcastMaxSize")
    conf("spark.llm.cache.broadcastMaxSize", "1g")
    conf("spark.llm.cache.table", "golden_answers")
    spark.sql(sql).collect()
    settle()
    try:
        show("all of it is in spark.llm.cache.table")
        for marker in (tmp_path / "cache").glob("_moved/*/*/*"):
            marker.unlink()
        show("some is in spark.llm.cache.table, some in the folder")
    finally:
        spark.sql("DROP TABLE golden_answers")
    show("left out", sql.replace("x)", "x, cache => false)"))
    show("left out", sql.replace("x)", "x, temperature => 1)"))
    version = ".".join(spark.version.split(".")[:2])
    text = re.sub(r"created_at#(\d+) > [-0-9 :.]+", r"created_at#\1 > TIME", "\n".join(parts))
    golden(f"rules/cache-answers-{version}.txt", text)
