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


@pytest.mark.parametrize("rule", RULES)
def test_rule_golden(spark, conf, golden, decisions, rule):
    spark.sql(
        """CREATE OR REPLACE TEMP VIEW a AS SELECT CAST(id AS INT) id, if(id = 7, NULL, concat('x', id % 10)) x,
           CAST(id % 100 AS INT) c FROM range(0, 200, 1, 2)"""
    )
    spark.sql(
        "CREATE OR REPLACE TEMP VIEW b AS SELECT CAST(id AS INT) id, concat('z', id % 4) z FROM range(0, 20, 1, 2)"
    )
    spark._jvm.org.apache.spark.sql.llm.PredicateHistory.clear()
    switch, queries = RULES[rule]
    parts = []
    for sql in queries:
        plans = {}
        for when, value in (("before", "false"), ("after", "true")):
            if switch is not None:
                conf(f"spark.llm.{switch}.enabled", value)
            frame = spark.sql(sql)
            plans[when] = normalized(frame._jdf.queryExecution().optimizedPlan().toString())
        if switch is not None:
            parts.append(f"-- {sql}\n-- before: spark.llm.{switch}.enabled=false\n{plans['before']}\n")
        else:
            parts.append(f"-- {sql}\n")
        noted = "".join(f"-- {line}\n" for line in dict.fromkeys(decisions(frame)))
        parts.append(f"-- after\n{plans['after']}\n{noted}")
    golden(f"rules/{rule}-{'.'.join(spark.version.split('.')[:2])}.txt", "\n".join(parts))
