"""What EXPLAIN shows, with expression ids taken out."""

import re

import pytest

pytestmark = pytest.mark.spark

QUERIES = {
    "cheap predicates first": (
        "SELECT llm('Is it good?', x, y, return_type => 'BOOLEAN') FROM t WHERE llm('Is it new?', x) = 'Yes' AND c < 10"
    ),
    "case": "SELECT CASE WHEN c < 10 THEN llm('p', id) WHEN llm('q', x) = 'a' THEN llm('r', y) ELSE 'z' END FROM t",
    "around an aggregate": (
        "SELECT x, avg(llm('Rate it', y, return_type => 'INT')), llm('Sum it up', max(y)) FROM t GROUP BY x "
        "HAVING llm('Keep it?', max(id)) = 'Yes' ORDER BY llm('Rank it', x)"
    ),
    "join condition": "SELECT a.id FROM t a JOIN t b ON a.c = b.c AND llm('Same?', a.x, b.y) = 'Yes'",
    "nested": "SELECT llm(llm('Write a question', x), y) FROM t",
    "one answer for all": "SELECT llm('p', x), length(llm('p', x)) FROM t WHERE llm('p', x) LIKE 'a%' ORDER BY llm('p', x)",
}


def normalized(plan):
    names = {}
    plan = re.sub(r"#(\d+)L?", lambda m: "#" + names.setdefault(m.group(1), str(len(names) + 1)), plan)
    # the block of each call has its own golden file, see test_explain_block.py
    return re.sub(r", \[plan_id=\d+\]", "", plan).split("== Extended Information (LLM) ==")[0]


def test_explain_golden(spark, golden):
    spark.sql(
        """CREATE OR REPLACE TEMP VIEW t AS SELECT CAST(id AS INT) id, concat('x', id % 10) x, concat('y', id % 5) y,
           CAST(id % 100 AS INT) c FROM range(0, 1000, 1, 4)"""
    )
    texts = [
        f"-- {name}\n{sql}\n{normalized(spark.sql('EXPLAIN ' + sql).head()[0]).strip()}\n"
        for name, sql in QUERIES.items()
    ]
    golden(f"explain-{'.'.join(spark.version.split('.')[:2])}.txt", "\n".join(texts))


def test_formatted_has_a_section_of_its_own(spark):
    plan = spark.sql(
        "EXPLAIN FORMATTED SELECT llm('p', id AS x, on_error => 'null') FROM range(2)".replace(
            "id AS x", "struct(id AS x)"
        )
    ).head()[0]
    assert "Fields: [x]" in plan
    assert "Return type: STRING, on error: null" in plan
