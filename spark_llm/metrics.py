"""What the calls of a query cost, read from Spark's own SQL metrics (classic sessions).

The same figures stand in the SQL tab and under ``/api/v1/applications/APP/sql``; this is for notebooks:

>>> spark.sql("SELECT llm('Is it about food?', review) FROM reviews").collect()  # doctest: +SKIP
>>> spark_llm.metrics.last_query(spark)  # doctest: +SKIP
[CallMetrics(node='LLMEval', rows=2000, requests=1840, …)]
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_NODE: Final = "LLMEval"
# A run report is made by a listener, and takes seconds on a busy machine.
_LISTENERS_MS: Final = 60_000
# CacheUpkeep.Description
_OWN: Final = "spark_llm: "
_LAST_EXPLAIN: Final = "org.apache.spark.sql.llm.LastExplain"
_RUN_REPORT: Final = "org.apache.spark.sql.llm.RunReport"


@dataclass(frozen=True, slots=True)
class CallMetrics:
    """One LLMEval node after a run.

    Attributes:
        node: name of the plan node.
        rows: rows that reached the node.
        duplicate_rows: rows answered by the equal row before them, which the exchange brought together.
        requests: questions sent to the engine; fewer than rows where some were equal, NULL, or not needed.
        prompt_tokens: tokens of all prompts sent.
        cached_prompt_tokens: those of them that the engine found in its prefix cache.
        generated_tokens: tokens of all answers.
        retries: requests that were sent again, after a failure that may pass; what they are known to have
            cost is in the tokens.
        failed_rows: rows that ended with an error condition.
        rows_from_cache: rows that an earlier query had asked about, with spark.llm.cache.enabled.
        rows_over_budget: rows that spark.llm.budget did not reach; none of them is a failed row.
        rows_skipped_by_condition: rows whose CASE, AND or OR made the answer irrelevant.
        thinking_tokens: those of the generated tokens that were thinking.
        rows_answered_with_reasoning: questions whose answer came after thinking that was asked for.
        rows_with_thinking_cut_off: questions whose thinking was ended by its budget.
        rows_that_thought_unasked: questions on which the model thought although it was asked not to.
        rows_answered_by_the_costly_model: questions whose answer is that of the second of two models.
        tokens_of_the_costly_model: those of the generated tokens that are its.
    """

    node: str
    rows: int = 0
    duplicate_rows: int = 0
    requests: int = 0
    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    generated_tokens: int = 0
    retries: int = 0
    failed_rows: int = 0
    rows_from_cache: int = 0
    rows_over_budget: int = 0
    rows_skipped_by_condition: int = 0
    thinking_tokens: int = 0
    rows_answered_with_reasoning: int = 0
    rows_with_thinking_cut_off: int = 0
    rows_that_thought_unasked: int = 0
    rows_answered_by_the_costly_model: int = 0
    tokens_of_the_costly_model: int = 0


_COUNTS: Final = tuple(field.name for field in fields(CallMetrics) if field.name != "node")


def last_query(spark: SparkSession) -> list[CallMetrics]:
    """Metrics of the newest query of this application, one entry per call in the plan, in plan order.

    Empty when that query has no call; what this package itself runs after a query is passed over. Over Spark
    Connect they are only in the server's UI and REST API.
    """
    executions = _status_store(spark).executionsList()
    for at in range(executions.size() - 1, -1, -1):
        newest = executions.apply(at)
        if not (newest.description() or "").startswith(_OWN):
            return of_execution(spark, newest.executionId())
    return []


def of_execution(spark: SparkSession, execution_id: int) -> list[CallMetrics]:
    """Metrics of the query that the SQL tab shows under ``execution_id``."""
    store = _status_store(spark)
    values = store.executionMetrics(execution_id)
    calls = []
    for node in _items(store.planGraph(execution_id).allNodes()):
        if node.name() == _NODE:
            texts = {m.name(): values.get(m.accumulatorId()) for m in _items(node.metrics())}
            known = {name: text.get() for name, text in texts.items() if text.isDefined()}
            calls.append(CallMetrics(_NODE, **{n: _number(known.get(n.replace("_", " "))) for n in _COUNTS}))
    return calls


def explain_last(spark: SparkSession) -> str:
    """EXPLAIN's section about calls, for this session's last query that had any, with actual figures.

    The same lines as before the run, with ``-> actual``; see docs/explain.md. Empty before the first such
    query.
    Over Spark Connect it is in the server's UI: a query's details, under its plan.
    """
    session: Any = spark
    return _static(spark, _LAST_EXPLAIN, "text", session._jsparkSession)  # noqa: SLF001  no public way in PySpark


def last_report(spark: SparkSession) -> str:
    """Path of the page about this application's last query with calls, where spark.llm.report.dir is set.

    Empty before the first one. The page is made when the query ends, and this waits for it.
    """
    return _static(spark, _RUN_REPORT, "lastPath")


def _static(spark: SparkSession, class_name: str, method_name: str, *arguments: Any) -> str:
    """Calls a static method that returns text, when the listeners have seen all that happened.

    By Java's reflection: py4j cannot see classes of a jar that was added to a running session.
    """
    _status_store(spark)
    session: Any = spark
    loader = session._jsparkSession.sharedState().jarClassLoader()  # noqa: SLF001
    found = loader.loadClass(class_name)
    method = next(method for method in found.getMethods() if method.getName() == method_name)
    gateway: Any = session.sparkContext._gateway  # noqa: SLF001
    array = gateway.new_array(gateway.jvm.java.lang.Object, len(arguments))
    for place, argument in enumerate(arguments):
        array[place] = argument
    return str(method.invoke(None, array))


def total(calls: list[CallMetrics]) -> CallMetrics:
    """Sum over the calls of a query."""
    return CallMetrics(_NODE, **{name: sum(getattr(call, name) for call in calls) for name in _COUNTS})


def _number(text: str | None) -> int:
    return int(re.sub(r"\D", "", text)) if text else 0


def _items(sequence: Any) -> list[Any]:
    return [sequence.apply(i) for i in range(sequence.size())]


def _status_store(spark: SparkSession) -> Any:
    session: Any = spark
    listener_bus = session.sparkContext._jsc.sc().listenerBus()  # noqa: SLF001  no public way in PySpark
    listener_bus.waitUntilEmpty(_LISTENERS_MS)
    return session._jsparkSession.sharedState().statusStore()  # noqa: SLF001
