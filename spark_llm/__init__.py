"""LLM('instruction', field, …) in Spark SQL: planned by Catalyst, answered by one engine per executor.

    configure(builder) · register(spark)           session.py     the jar into a session
            |
    llm('Is it about food?', review, city)         functions.py   SQL, or a Column
            |  analysis, rules, LLMEvalExec        catalyst/      Scala; cheap predicates first
            v
    Arrow batches ► prompts ► answers ► Arrow      worker/, prompts/
            |
    HTTP over a Unix socket, or any endpoint       engine/        one vLLM server per executor, or the fake
            v
    typed column; failures as conditions           errors.py      settings: conf.py

Importing this costs milliseconds: pyspark, torch and vLLM are imported where they are used.
"""

from typing import Any

from spark_llm.errors import SparkLLMError, from_exception
from spark_llm.session import configure, jar_path, register, session_conf

__all__ = [
    "SparkLLMError",
    "__version__",
    "configure",
    "from_exception",
    "functions",
    "jar_path",
    "metrics",
    "progress",
    "register",
    "session_conf",
]


def _warn_of_other_package() -> None:
    """Tells users of the 2023 package ``spark-llm``, which is imported by the same name, how to remove it."""
    import sys

    if "pyspark.worker" in sys.modules:
        return  # executors cannot act on it, and there are many of them
    import importlib.metadata

    try:
        importlib.metadata.distribution("spark-llm")
    except importlib.metadata.PackageNotFoundError:
        return
    import warnings

    warnings.warn(
        "The abandoned package spark-llm is installed beside pyspark-llm; both are imported as spark_llm and "
        "overwrite each other's files. Run: pip uninstall -y spark-llm && "
        "pip install --force-reinstall --no-deps pyspark-llm",
        RuntimeWarning,
        stacklevel=3,
    )


def __getattr__(name: str) -> Any:
    if name in {"functions", "metrics", "progress"}:
        import importlib

        return importlib.import_module(f"spark_llm.{name}")
    if name == "__version__":
        import importlib.metadata

        return importlib.metadata.version("pyspark-llm")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


_warn_of_other_package()
