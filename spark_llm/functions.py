"""The SQL functions as Column functions, for classic sessions and for Spark Connect.

>>> from spark_llm import functions as LF
>>> df.where(LF.llm("Is it about food?", "review", return_type="BOOLEAN"))  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from spark_llm.errors import invalid_option
from spark_llm.return_types import ddl_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import Column

__all__ = ["any_order", "llm", "try_llm"]

_OF_NAMES: Final = frozenset({"first_fields", "last_fields"})


def llm(  # noqa: PLR0913  one per option of the SQL function
    instruction: str | Column,
    *fields: str | Column,
    model: str | None = None,
    return_type: object = None,
    on_error: str | None = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
    seed: int | None = None,
    selectivity: float | None = None,
    first_fields: Sequence[str] | None = None,
    last_fields: Sequence[str] | None = None,
    provenance: bool | None = None,
    cache: bool | None = None,
    reasoning: str | None = None,
    reasoning_budget: int | None = None,
    labels: str | Column | None = None,
    models: str | Sequence[str] | None = None,
) -> Column:
    """Asks the model ``instruction`` about ``fields``, for each row.

    The fields are a set: the planner may order them. Each goes into the prompt under its name, which
    ``alias`` changes.

    Args:
        instruction: what is asked, as text; or a Column with a text for each row.
        fields: column names, ``"*"``, or Columns.
        model: a hub name, a path, or a name defined by spark.llm.models.
        return_type: type of the answer: DDL, a pyspark DataType, a dataclass, a pydantic model, or a Python
            type such as ``bool`` or ``list[str]``. Text when left out.
        on_error: ``"fail"`` (default), ``"null"``, or ``"struct"`` for STRUCT<value, error>.
        temperature: 0 (default) for the most likely answer.
        max_tokens: generated tokens at most; spark.llm.maxAnswerLen when left out.
        seed: makes answers at a temperature above 0 repeatable.
        selectivity: share of the rows, 0 to 1, that the predicate with this call keeps: a hint for the
            order of several LLM predicates.
        first_fields: names of fields that stay at the beginning of the prompt, in this order.
        last_fields: names of fields that stay at its end.
        provenance: True for STRUCT<value, provenance>, which says what was asked and who answered.
        cache: True to look up earlier answers and keep new ones, False for neither; spark.llm.cache.enabled
            when left out.
        reasoning: whether the model thinks before it answers: ``"off"``, ``"on"``, or ``"auto"`` for the rows
            where a pilot says that it pays; spark.llm.reasoning.mode when left out.
        reasoning_budget: thinking tokens at most per row; spark.llm.reasoning.maxThinkingLen when left out.
        labels: column with right answers where they are known, for the pilot of ``"auto"`` or of two models.
        models: two names, the cheap model first: it answers all rows, and the second one those where a pilot
            says that it pays. Each is the engine's own model or has spark.llm.models.NAME.endpoint.

    Raises:
        SparkLLMError: LLM_INVALID_OPTION for a ``return_type`` that is no type; Spark checks the others
            when it analyzes the query.
    """
    return _ask("llm", instruction, fields, {
        "model": model,
        "return_type": return_type,
        "on_error": on_error,
        "temperature": temperature,
        "max_tokens": max_tokens,
        "seed": seed,
        "selectivity": selectivity,
        "first_fields": first_fields,
        "last_fields": last_fields,
        "provenance": provenance,
        "cache": cache,
        "reasoning": reasoning,
        "reasoning_budget": reasoning_budget,
        "labels": labels,
        "models": models,
    })  # fmt: skip


def try_llm(instruction: str | Column, *fields: str | Column, **options: Any) -> Column:
    """Asks as `llm` does; a row that fails becomes NULL.

    Args:
        instruction: see `llm`.
        fields: see `llm`.
        options: those of `llm`; ``on_error`` is ``"null"`` (default) or ``"struct"``.

    Raises:
        SparkLLMError: LLM_INVALID_OPTION for a ``return_type`` that is no type; Spark checks the others
            when it analyzes the query.
    """
    return _ask("try_llm", instruction, fields, options)


def any_order(*fields: str | Column) -> Column:
    """Declares fields of `llm` interchangeable, such as retrieved passages.

    Their names stay where they are in the prompt, their values may change places. Only as a field of `llm`.

    Args:
        fields: column names or Columns, at least two to matter.
    """
    from pyspark.sql import functions as F

    return F.call_function("any_order", *[F.col(f) if isinstance(f, str) else f for f in fields])


def _ask(
    function: str, instruction: str | Column, fields: Sequence[str | Column], options: dict[str, Any]
) -> Column:
    from pyspark.sql import functions as F

    if isinstance(instruction, str):
        instruction = F.lit(instruction)
    elif not _is_column(instruction):
        raise invalid_option("instruction", repr(instruction), "a str or a Column")
    given = {name: value for name, value in options.items() if value is not None}
    if "return_type" in given:
        given["return_type"] = ddl_of(given["return_type"])
    if "models" in given and not isinstance(given["models"], str):
        given["models"] = ",".join(given["models"])
    for name in _OF_NAMES & given.keys():
        given[name] = list(given[name])
    columns = [F.col(field) if isinstance(field, str) else field for field in fields]
    if isinstance(given.get("labels"), str):
        given["labels"] = F.col(given["labels"])
    named = [_named(name, F.lit(value)) for name, value in given.items()]
    return F.call_function(function, instruction, *columns, *named)


def _is_column(value: object) -> bool:
    from pyspark.sql import Column

    return isinstance(value, Column)


def _named(name: str, value: Any) -> Column:
    """Returns ``name => value``; PySpark has this inside its UDF calls only."""
    from pyspark.sql.utils import is_remote

    if is_remote():
        from pyspark.sql.connect.column import Column as ConnectColumn
        from pyspark.sql.connect.expressions import NamedArgumentExpression

        return ConnectColumn(NamedArgumentExpression(name, value._expr))  # noqa: SLF001
    from pyspark import SparkContext
    from pyspark.sql.classic.column import Column as ClassicColumn

    context = SparkContext._active_spark_context  # noqa: SLF001
    if context is None or context._jvm is None:  # noqa: SLF001
        raise RuntimeError("There is no Spark session: build one before columns are made.")
    sql_utils = context._jvm.PythonSQLUtils  # noqa: SLF001
    return ClassicColumn(sql_utils.namedArgumentExpression(name, value._jc))  # noqa: SLF001
