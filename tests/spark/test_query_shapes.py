"""Wherever SQL allows an expression: the same answers as a plain pandas UDF, and never more requests than rows."""

import re

import pytest

from spark_llm import metrics
from spark_llm.demo import plain_udf

pytestmark = pytest.mark.spark

# The fake engine answers free text with 'fake:<hex>'; a predicate on its first digit keeps about half of the rows.
YES = "< 'fake:8'"

SWITCHES = ("moveFilters", "shareCalls")

SHAPES = {
    # name: (SQL with ask('instruction' | fields), most requests allowed)
    "select": ("SELECT id, ask('p' | x, y) a FROM t", 200),
    "select three times": ("SELECT ask('p' | x) a, ask('p' | x) b, concat(ask('p' | x), '!') c FROM t", 200),
    "where": (f"SELECT id FROM t WHERE ask('p' | id) {YES}", 200),
    "where after cheap": (f"SELECT id FROM t WHERE ask('p' | id) {YES} AND c < 10", 20),
    "two predicates": (f"SELECT id FROM t WHERE ask('p' | x) {YES} AND ask('q' | id) {YES} AND c < 10", 40),
    "select and where": (f"SELECT id, ask('p' | id) a FROM t WHERE ask('p' | id) {YES}", 200),
    "alias filtered": (f"SELECT * FROM (SELECT id, c, ask('p' | id) a FROM t) WHERE a {YES} AND c < 10", 20),
    "case": ("SELECT id, CASE WHEN c < 10 THEN ask('p' | id) ELSE 'skip' END a FROM t", 20),
    "case on answer": (
        f"SELECT id, CASE WHEN ask('p' | id) {YES} THEN ask('q' | id) ELSE x END a FROM t",
        330,
    ),
    "if": ("SELECT id, if(c < 10, ask('p' | id), ask('q' | id)) a FROM t", 200),
    "coalesce": ("SELECT id, coalesce(if(c < 90, x, NULL), ask('p' | id)) a FROM t", 20),
    "or": (f"SELECT id FROM t WHERE c < 50 OR ask('p' | id) {YES}", 100),
    "not and": (f"SELECT id FROM t WHERE NOT (ask('p' | x) {YES} AND id < 50)", 200),
    "or of two calls": (f"SELECT id FROM t WHERE ask('p' | x) {YES} OR ask('q' | y) {YES}", 400),
    "same call guarded and not": ("SELECT if(c < 10, ask('p' | id), 'x') a, ask('p' | id) b FROM t", 200),
    "same call hidden": (
        f"SELECT if(c < 10, ask('p' | id), 'x') a, if(ask('q' | x) {YES}, ask('p' | id), 'y') b FROM t",
        400,
    ),
    "order by": ("SELECT id, ask('p' | id) a FROM t ORDER BY c, id", 200),
    "order by call": ("SELECT id FROM t ORDER BY ask('p' | x), id", 200),
    "order by call limit": ("SELECT id FROM t ORDER BY ask('p' | id), id LIMIT 7", 200),
    "group by call": ("SELECT ask('p' | x, y) a, count(*) n FROM t GROUP BY ask('p' | x, y)", 200),
    "sum over call": (
        f"SELECT c % 3 k, sum(CASE WHEN ask('p' | x) {YES} THEN 1 ELSE 0 END) n FROM t GROUP BY 1",
        200,
    ),
    "case in aggregate": (
        "SELECT c % 3 k, max(CASE WHEN c < 10 THEN ask('p' | id) END) n FROM t GROUP BY 1",
        20,
    ),
    "aggregate filter": (f"SELECT count(*) FILTER (WHERE ask('p' | id) {YES}) n FROM t", 200),
    "count distinct": ("SELECT count(DISTINCT ask('p' | x)), count(DISTINCT id) FROM t", 200),
    "over aggregate": ("SELECT x, ask('p' | m) a FROM (SELECT x, max(y) m FROM t GROUP BY x)", 10),
    "over aggregate directly": ("SELECT x, ask('p' | max(y)) a FROM t GROUP BY x", 10),
    "over grouping key": ("SELECT ask('p' | x) a, count(*) n FROM t GROUP BY x", 10),
    "having": (f"SELECT x, max(id) m FROM t GROUP BY x HAVING ask('p' | max(id)) {YES}", 10),
    "cube": ("SELECT grouping_id(), ask('p' | x) a, count(*) n FROM t GROUP BY CUBE (ask('p' | x))", 200),
    "window": ("SELECT id, row_number() OVER (PARTITION BY ask('p' | x) ORDER BY id) r FROM t", 200),
    "distinct": ("SELECT DISTINCT ask('p' | x, y) a FROM t", 200),
    "limit in subquery": (
        "SELECT count(*) FROM (SELECT ask('p' | x) a FROM t LIMIT 5) WHERE a IS NOT NULL",
        5,
    ),
    "top k": ("SELECT id, ask('p' | x) a FROM t ORDER BY id DESC LIMIT 7", 7),
    "top k of a subquery": (
        "SELECT * FROM (SELECT c, id, ask('p' | x) a FROM t) ORDER BY c, id LIMIT 7 OFFSET 3",
        10,
    ),
    "in subquery": (f"SELECT id FROM t WHERE id IN (SELECT id FROM u WHERE ask('p' | id) {YES})", 20),
    "exists": (
        f"SELECT id FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.id = t.id AND ask('p' | u.id) {YES})",
        20,
    ),
    "not in": (f"SELECT id FROM t WHERE id NOT IN (SELECT id FROM u WHERE ask('p' | id) {YES})", 20),
    "scalar subquery": ("SELECT id, (SELECT max(ask('p' | u.id)) FROM u WHERE u.id = t.id) a FROM t", 20),
    "scalar subquery argument": ("SELECT id, ask('p' | x, (SELECT max(z) FROM u) AS m) a FROM t", 200),
    "lateral": ("SELECT id, r.a FROM t, LATERAL (SELECT ask('p' | t.x) a) r", 200),
    "join condition": (f"SELECT t.id, u.z FROM t JOIN u ON t.c = u.id AND ask('p' | t.x, u.z) {YES}", 40),
    "join condition alone": (
        f"SELECT t.id tid, u.id FROM t JOIN u ON ask('p' | t.x, u.z) {YES} WHERE t.id < 20",
        400,
    ),
    "one side of a left join": (
        f"SELECT t.id, u.z FROM t LEFT JOIN u ON t.id = u.id AND ask('p' | t.id) {YES}",
        200,
    ),
    "under a left join": (
        "SELECT t.id, q.r FROM t LEFT JOIN (SELECT id, ask('p' | id) r FROM u) q ON t.id = q.id",
        20,
    ),
    "filtered side joined": (
        f"SELECT a.id FROM (SELECT * FROM t WHERE ask('p' | id) {YES}) a JOIN u ON a.id = u.id",
        200,
    ),
    "anti join": (
        f"SELECT a.x FROM t a LEFT ANTI JOIN (SELECT x FROM t WHERE ask('p' | x) {YES}) b ON a.x = b.x",
        200,
    ),
    "self join of a CTE": (
        "WITH q AS (SELECT id, ask('p' | id) a FROM t) SELECT x.id, y.a FROM q x JOIN q y ON x.id = y.id + 1",
        400,
    ),
    "union": ("SELECT ask('p' | x) a FROM (SELECT x FROM t UNION ALL SELECT x FROM u)", 220),
    "except": (f"SELECT x FROM t EXCEPT SELECT x FROM t WHERE ask('p' | x) {YES}", 200),
    "explode": ("SELECT id, explode(split(ask('p' | x), ':')) e FROM t", 200),
    "pivot": (
        "SELECT * FROM (SELECT x, id, ask('p' | y) a FROM t) PIVOT (max(a) FOR x IN ('x1', 'x2'))",
        200,
    ),
    "nested": ("SELECT id, ask(ask('p' | x) | y) a FROM t", 400),
    "instruction per row": ("SELECT id, ask(concat('p', c % 3) | x) a FROM t", 200),
    "null fields": ("SELECT id, ask('p' | n, x) a, ask('p' | n) b FROM t", 400),
    "null instruction": ("SELECT id, ask(if(c < 50, NULL, 'p') | x) a FROM t", 100),
    "no rows": ("SELECT id, ask('p' | x) a FROM t WHERE id < 0", 0),
    "star": ("SELECT id, ask('p' | *) a FROM (SELECT id, x, n FROM t)", 200),
    "python udf argument": ("SELECT id, ask('p' | shout(x) AS s) a FROM t", 200),
    "python udf result": ("SELECT id, shout(ask('p' | x)) a FROM t", 200),
    "predicate under a udf": ("SELECT id FROM t WHERE shout(ask('p' | id)) < 'FAKE:8'", 200),
    "predicate on an answer over a join": (
        f"SELECT q.id, q.a FROM (SELECT id, c, ask('p' | id) a FROM t) q JOIN t u ON q.id = u.id "
        f"WHERE q.a {YES} AND q.c < 50",
        100,
    ),
    "predicate on an answer over a distinct": (
        f"SELECT q.x, u.id FROM (SELECT x, ask('p' | x) a FROM (SELECT DISTINCT x FROM t)) q "
        f"JOIN u ON q.x = u.x WHERE q.a {YES}",
        20,
    ),
    "join on an answer": (
        "SELECT q.id FROM (SELECT id, ask('p' | x) a FROM t) q JOIN "
        "(SELECT DISTINCT ask('p' | x) b FROM u) r ON q.a = r.b",
        220,
    ),
    "correlated subquery beside a call": (
        f"SELECT id FROM t WHERE ask('p' | id) {YES} OR id > (SELECT max(id) - 2 FROM u WHERE u.id = t.id)",
        200,
    ),
    "ordered aggregate": (
        "SELECT y, listagg(x, ',') WITHIN GROUP (ORDER BY ask('p' | id), id) FROM t GROUP BY y",
        200,
    ),
    "cross join": (f"SELECT q.id, u.z FROM (SELECT id FROM t WHERE ask('p' | id) {YES}) q CROSS JOIN u", 200),
    "semi join": (
        f"SELECT q.id FROM (SELECT id FROM t WHERE ask('p' | id) {YES}) q LEFT SEMI JOIN u ON q.id = u.id",
        20,
    ),
    "anti join of the filtered side": (
        f"SELECT q.id FROM (SELECT id FROM t WHERE ask('p' | id) {YES}) q LEFT ANTI JOIN u ON q.id = u.id",
        180,
    ),
    "both sides filtered": (
        f"SELECT q.id, r.z FROM (SELECT id FROM t WHERE ask('p' | id) {YES}) q JOIN "
        f"(SELECT id, z FROM u WHERE ask('q' | z, id) {YES}) r ON q.id = r.id",
        40,
    ),
    "filtered by a column that is not kept": (
        f"SELECT q.id, u.z FROM (SELECT id FROM t WHERE ask('p' | y) {YES}) q JOIN u ON q.id = u.id",
        10,
    ),
    "left join of answers": (
        "SELECT q.id, q.a, u.z FROM (SELECT id, ask('p' | id) a FROM t) q LEFT JOIN u ON q.id = u.id",
        200,
    ),
    "left join of answers limited": (
        "SELECT count(a) FROM (SELECT q.a, u.z FROM (SELECT id, ask('p' | id) a FROM t) q "
        "LEFT JOIN u ON q.id = u.id LIMIT 5)",
        5,
    ),
    "right join of answers": (
        "SELECT q.id, q.a, u.z FROM u RIGHT JOIN (SELECT id, ask('p' | id) a FROM t) q ON q.id = u.id",
        200,
    ),
    "full join of answers": (
        "SELECT q.id, q.a, u.z FROM u FULL JOIN (SELECT id, ask('p' | id) a FROM t) q ON q.id = u.id",
        200,
    ),
    "answers over two joins": (
        f"SELECT q.id, q.n, u.z FROM (SELECT id, length(ask('p' | id)) n FROM t WHERE ask('q' | id) {YES}) q "
        "JOIN u ON q.id = u.id JOIN u v ON u.id = v.id",
        40,
    ),
    "merge join": (
        f"SELECT /*+ MERGE(u) */ q.id, q.a FROM (SELECT id, ask('p' | id) a FROM t WHERE ask('q' | id) {YES}) q "
        "JOIN u ON q.id = u.id",
        40,
    ),
    "hash join that repeats rows": (
        f"SELECT /*+ SHUFFLE_HASH(u) */ q.id, u.id FROM (SELECT id, x FROM t WHERE ask('p' | x) {YES}) q "
        "JOIN u ON q.x = u.x",
        200,
    ),
    "column beside a predicate": (
        f"SELECT * FROM (SELECT id, ask('p' | id) a FROM t) WHERE ask('q' | id % 4 AS k) {YES}",
        260,
    ),
    "three predicates": (
        f"SELECT id FROM t WHERE ask('p' | x, y) {YES} AND ask('q' | id) {YES} AND ask('r' | id, x) {YES}",
        400,
    ),
    "CTE filtered in two ways": (
        "WITH q AS (SELECT id, c, ask('p' | id) a FROM t) "
        f"SELECT id, a FROM q WHERE c < 20 UNION ALL SELECT c, a FROM q WHERE c BETWEEN 10 AND 29 AND a {YES}",
        60,
    ),
    "CTE of a predicate joined with itself": (
        f"WITH q AS (SELECT id, c FROM t WHERE ask('p' | id) {YES}) SELECT a.id, b.c FROM q a JOIN q b ON a.id = b.c",
        200,
    ),
    "CTE three times": (
        "WITH q AS (SELECT x, y, ask('p' | x, y) a FROM t) SELECT x, a FROM q UNION ALL SELECT y, a FROM q "
        f"UNION ALL SELECT y, x FROM q WHERE a {YES}",
        200,
    ),
    "union of two predicates on one call": (
        f"SELECT id FROM t WHERE ask('p' | id) {YES} UNION ALL SELECT c FROM t WHERE NOT ask('p' | id) {YES}",
        200,
    ),
    "view used twice": (
        "SELECT max(a.answer), b.answer FROM answered a JOIN answered b ON a.id = b.id - 1 GROUP BY b.answer",
        200,
    ),
    "aggregates of one CTE": (
        "WITH q AS (SELECT x, max(y) m, ask('p' | max(y), x) a FROM t GROUP BY x) "
        "SELECT q.x, r.a FROM q JOIN q r ON q.x = r.x",
        10,
    ),
    "argument of two calls": (
        "SELECT id, ask('p' | concat(x, '!') AS s) a, ask('q' | concat(x, '!') AS s) b FROM t",
        400,
    ),
    "random but repeatable": (
        f"SELECT id, ask('p' | id) a FROM t WHERE rand(7) + c >= 0 AND ask('p' | id) {YES} AND c < 10",
        20,
    ),
    "right side that may fail": (
        "SELECT s, (ask('p' | s) = 'never' AND CAST(s AS INT) > 0) b FROM VALUES ('1'), ('x') v(s)",
        2,
    ),
    "recursive": (
        "WITH RECURSIVE r(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM r WHERE k < 5) SELECT k, ask('p' | k) a FROM r",
        5,
    ),
}


def written(sql, function):
    """ask('p' | x, y) → llm('p', x, y), or plain('p', to_json(struct(x, y)))."""

    def call(match):
        instruction, fields = match.group(1).strip(), match.group(2).strip()
        if function == "llm":
            return f"llm({instruction}, {'struct(' + fields + ')' if ' AS ' in fields else fields})"
        named = (
            re.sub(r"\bmax\(([^()]*)\)(?! AS)", r"max(\1) AS `max(\1)`", fields)
            if "SELECT" not in fields
            else fields
        )
        return f"plain({instruction}, to_json(struct({named})))"

    inner = re.compile(r"\bask\(((?:[^()|]|\([^()]*\))*)\|((?:[^()]|\((?:[^()]|\([^()]*\))*\))*)\)")
    while "ask(" in sql:
        sql, n = inner.subn(call, sql)
        assert n, sql
    return sql.replace(" answered ", f" answered_{function} ")


@pytest.fixture(scope="module")
def tables(spark):
    plain_udf.register(spark, {"spark.llm.engine.kind": "fake"}, {})
    spark.udf.register("shout", lambda s: s.upper() if s is not None else None, "string")
    spark.sql(
        """CREATE OR REPLACE TEMP VIEW t AS SELECT CAST(id AS INT) id, concat('x', id % 10) x, concat('y', id % 5) y,
           CAST(id % 100 AS INT) c, if(id % 3 = 0, NULL, concat('n', id % 4)) n FROM range(0, 200, 1, 3)"""
    )
    spark.sql(
        """CREATE OR REPLACE TEMP VIEW u AS SELECT CAST(id AS INT) id, concat('z', id % 4) z, concat('x', id % 12) x
           FROM range(0, 20, 1, 2)"""
    )
    for function in ("llm", "plain"):
        spark.sql(
            f"CREATE OR REPLACE TEMP VIEW answered_{function} AS "
            + written("SELECT id, ask('p' | id) answer FROM t", function)
        )


def rows(frame):
    return sorted(tuple(map(str, row)) for row in frame.collect())


@pytest.mark.parametrize("name", SHAPES)
def test_same_answers_as_a_plain_udf(spark, tables, conf, name):
    sql, most_requests = SHAPES[name]
    ours = rows(spark.sql(written(sql, "llm")))
    requests = sum(call.requests for call in metrics.last_query(spark))
    for switch in SWITCHES:
        conf(f"spark.llm.{switch}.enabled", "false")
    off = rows(spark.sql(written(sql, "llm")))
    assert ours == rows(spark.sql(written(sql, "plain"))) == off
    assert requests <= most_requests


def test_order_survives(spark, tables):
    ids = [r.id for r in spark.sql("SELECT id, llm('p', x) a FROM t ORDER BY id DESC").collect()]
    assert ids == sorted(ids, reverse=True)
    ids = [
        r.id
        for r in spark.sql(
            "SELECT id FROM (SELECT * FROM t ORDER BY id) WHERE llm('p', x) > 'fake:2'"
        ).collect()
    ]
    assert ids == sorted(ids)


def test_sort_does_not_ask_twice(spark, tables):
    spark.sql("SELECT id, llm('p', id) a FROM t ORDER BY c, id").collect()
    assert sum(call.rows for call in metrics.last_query(spark)) == 200


def test_without_adaptive_execution(spark, tables, conf):
    conf("spark.sql.adaptive.enabled", "false")
    sql = "SELECT x, max(llm('p', id)) a FROM t WHERE llm('q', y) > 'fake:4' GROUP BY x ORDER BY a"
    plain = "SELECT x, max(plain('p', to_json(struct(id)))) a FROM t WHERE plain('q', to_json(struct(y))) > 'fake:4' GROUP BY x ORDER BY a"
    assert rows(spark.sql(sql)) == rows(spark.sql(plain))


def test_tables_made_of_answers(spark, tables):
    spark.sql("CREATE TABLE made USING parquet AS SELECT id, llm('p', id) a FROM t")
    spark.sql("INSERT INTO made SELECT id + 1000, llm('p', id) FROM t WHERE llm('q', x) > 'fake:4'")
    expected = spark.sql("SELECT id, plain('p', to_json(struct(id))) a FROM t").collect()
    assert sorted(spark.sql("SELECT * FROM made WHERE id < 1000").collect()) == sorted(expected)
    spark.sql("DROP TABLE made")


def test_predicate_order_can_be_switched_off(spark, tables, conf):
    conf("spark.llm.moveFilters.enabled", "false")
    sql = "SELECT id FROM t WHERE llm('p', id) < 'fake:8' AND c < 10"
    plain = "SELECT id FROM t WHERE plain('p', to_json(struct(id))) < 'fake:8' AND c < 10"
    assert rows(spark.sql(sql)) == rows(spark.sql(plain))


def test_arguments_are_not_computed_where_the_answer_does_not_matter(spark):
    sql = (
        "SELECT id, CASE WHEN id <> 0 THEN llm('ECHO', struct(10 / id AS v)) ELSE 'zero' END a FROM range(3)"
    )
    assert [r.a for r in spark.sql(sql).collect()] == ["zero", '{"v": 10.0}', '{"v": 5.0}']


def test_no_questions_about_rows_of_other_tables(spark, tables):
    sql = """SELECT q.x FROM (SELECT x, llm('p', x) a FROM (SELECT DISTINCT x FROM t)) q
             JOIN (SELECT concat('x', id) w FROM range(1000)) f ON q.x = f.w WHERE q.a < 'fake:8'"""
    spark.sql(sql).collect()
    assert sum(call.rows for call in metrics.last_query(spark)) == 10


def test_sampled_calls_are_drawn_once_per_row(spark, tables):
    sampled = "llm('p', id, temperature => 1)"
    for sql in (
        f"SELECT q.* FROM (SELECT id, {sampled} a FROM t) q JOIN t t2 ON q.id = t2.id WHERE q.a < 'fake:8'",
        f"SELECT {sampled} a, count(*) FROM t GROUP BY 1 HAVING a < 'fake:8'",
    ):
        spark.sql(sql).collect()
        assert sum(call.rows for call in metrics.last_query(spark)) == 200
