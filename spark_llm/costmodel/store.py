"""A fit as a JSON file: written by `spark-llm profile`, read through spark.llm.costmodel.path."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, fields
from typing import TYPE_CHECKING

from spark_llm.costmodel.step_time import StepTime
from spark_llm.errors import SparkLLMError, invalid_conf

if TYPE_CHECKING:
    from pathlib import Path

    from spark_llm.costmodel.fit import Fit

KEY = "spark.llm.costmodel.path"
_EXPECTED = "the path of a file that spark-llm profile has written"


def write_fit(path: Path, fit: Fit, model: str) -> None:
    """Writes a fit; folders that are missing are made.

    Args:
        path: of the file.
        fit: what was found.
        model: that the engine served.

    Raises:
        SparkLLMError: LLM_FILE_NOT_WRITTEN.
    """
    text = json.dumps({"model": model, **asdict(fit)}, indent=1) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SparkLLMError("LLM_FILE_NOT_WRITTEN", file=path, reason=error.strerror or error) from error


def read_step_time(path: Path) -> StepTime:
    """The step-time model of a file.

    Raises:
        SparkLLMError: LLM_INVALID_CONF where it is not there or not such a file.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["step_time"]
        known = {name: found[name] for name in (field.name for field in fields(StepTime)) if name in found}
        model = StepTime(**known)
        numbers = [value for value in asdict(model).values() if value is not None]
        if not all(math.isfinite(number) for number in numbers):
            raise ValueError("not a number")
    except OSError as error:
        raise invalid_conf(KEY, f"{path} ({error.strerror or error})", _EXPECTED) from error
    except (ValueError, TypeError, KeyError) as error:
        raise invalid_conf(KEY, str(path), _EXPECTED) from error
    return model
