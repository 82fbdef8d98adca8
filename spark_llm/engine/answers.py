"""Row-level failures as `EngineAnswer`s, worded by the table of error conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_llm.engine.types import EngineAnswer

if TYPE_CHECKING:
    from spark_llm.errors import SparkLLMError

_CLIP_CHARS = 400


def from_error(error: SparkLLMError) -> EngineAnswer:
    """The answer that carries `error` for one row."""
    return EngineAnswer(None, error.condition, error.message, 0, 0, 0, None)


def clip(text: str, limit: int = _CLIP_CHARS) -> str:
    """`text` on one line and at most `limit` characters: an engine's message may quote a whole prompt."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
