"""What one would write without the plug-in: a pandas UDF that asks the engine row by row.

The demo times it beside ``llm()``, and the tests compare answers with it: same prompts, same engine, but no
plan rules, no batches, no deduplication.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyspark.sql import SparkSession


def register(
    spark: SparkSession,
    conf: Mapping[str, str],
    environ: Mapping[str, str],
    name: str = "plain",
    max_tokens: int = 256,
) -> None:
    """Registers ``plain(instruction, to_json(struct(fields)))`` → STRING.

    Args:
        spark: a classic session.
        conf: spark.llm.* entries that say which engine is asked.
        environ: what the plug-in would put into a worker's environment: the address of a local engine.
        name: of the SQL function.
        max_tokens: longest answer.
    """
    import pandas as pd
    from pyspark.sql.pandas.functions import pandas_udf

    settings, address = dict(conf), dict(environ)

    def plain(instruction: pd.Series, row: pd.Series) -> pd.Series:
        from spark_llm.engine.client import open_client
        from spark_llm.engine.types import Sampling
        from spark_llm.prompts import SYSTEM_PROMPT

        client = open_client(settings, address)
        sampling = Sampling(
            model=settings.get("spark.llm.model"),
            temperature=0.0,
            max_tokens=max_tokens,
            seed=None,
            constraint=None,
        )

        def ask(question: str | None, fields: str | None) -> str | None:
            if question is None or fields is None or fields == "{}":
                return None
            text = json.dumps(json.loads(fields), ensure_ascii=False)
            return _one(client, SYSTEM_PROMPT, f"{question}\n{text}", sampling)

        try:
            return pd.Series([ask(q, f) for q, f in zip(instruction, row, strict=True)], dtype=object)
        finally:
            client.close()

    # without postponed annotations pandas_udf would see strings
    plain.__annotations__ = {"instruction": pd.Series, "row": pd.Series, "return": pd.Series}
    vectorized: Any = pandas_udf
    spark.udf.register(name, vectorized(plain, "string"))


def _one(client: Any, system: str, user: str, sampling: Any) -> str | None:
    from spark_llm.engine.types import EngineRequest

    answer = client.submit([EngineRequest(system, user)], sampling).result()[0]
    if answer.condition is not None:
        raise RuntimeError(answer.message)
    text: str | None = answer.text
    return text
