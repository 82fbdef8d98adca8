"""Plans and requests of a query, as the layout tests look at them."""

import re
from dataclasses import dataclass

from spark_llm import metrics

NO_SWITCHES = ("dedup", "reorderRows", "reorderFields")


@dataclass(frozen=True)
class Call:
    """What EXPLAIN says about one call."""

    order: str
    why: str
    dedup: str
    exchange: str


def calls(frame):
    """The calls of a plan, outermost first; of the final plan when the query has run."""
    text = frame._jdf.queryExecution().executedPlan().toString().split("== Initial Plan ==")[0]
    found = re.findall(
        r"LLMEval \[.*?\], (?:onlyIf=.*?, )?fieldOrder=\[(.*?)\] \((.*?)\), dedup=(.*?), exchange=(.*)", text
    )
    return [Call(*groups) for groups in found]


def plan(frame):
    return frame._jdf.queryExecution().executedPlan().toString().split("== Initial Plan ==")[0]


def call(frame):
    (only,) = calls(frame)
    return only


def run(spark, sql):
    """Returns the sorted rows, what the calls cost together, and the final plan's calls."""
    frame = spark.sql(sql)
    rows = sorted(tuple(map(str, row)) for row in frame.collect())
    return rows, metrics.total(metrics.last_query(spark)), calls(frame)
