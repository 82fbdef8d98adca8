"""What the first pass says about rows: answers as values that can be compared, and the router's signals."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from spark_llm.router import Signals
from spark_llm.worker.scalar import Invalid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spark_llm.engine.types import EngineAnswer, EngineRequest
    from spark_llm.worker.answer import AnswerParser


class AnswerReader:
    """Answers and labels in one form, so that equal ones are equal texts.

    Args:
        parse: of the call.
    """

    def __init__(self, parse: AnswerParser) -> None:
        self._parse = parse

    def answer(self, answer: EngineAnswer) -> str | None:
        """Returns the value as text; None for a failure, and for an answer that does not fit its type."""
        if answer.condition is not None or answer.text is None:
            return None
        return self._value(answer.text, answer.finish_reason)

    def label(self, label: str | None) -> str | None:
        """Returns a right answer in the same form.

        Args:
            label: ``{"v":VALUE}`` as fields are written; ``{}`` and None where it is unknown.
        """
        value = None if label is None else json.loads(label).get("v")
        if value is None:
            return None
        return self._value(value if isinstance(value, str) else json.dumps(value), "stop")

    def _value(self, text: str, finish_reason: str | None) -> str | None:
        try:
            value = self._parse(text, finish_reason)
        except Invalid:
            return None
        return (
            value.casefold() if isinstance(value, str) else json.dumps(value, default=_text, sort_keys=True)
        )


def _text(value: Any) -> str:
    return str(value)


def row_text(request: EngineRequest) -> str:
    """Returns the row of a prompt: the instruction, which rows share, tells none from another."""
    start = request.user.find("\n{")
    return request.user[start + 1 :]


def signals_of(
    requests: Sequence[EngineRequest], answers: Sequence[EngineAnswer], values: Sequence[str | None]
) -> Signals:
    """Returns the signals of rows after the pass without thinking.

    Args:
        requests: shape (rows,).
        answers: of that pass, shape (rows,).
        values: the same as `AnswerReader` has them.
    """
    figures = [answer.figures for answer in answers]
    known = any(each is not None for each in figures)

    def column(place: int) -> Any:
        return [math.nan if each is None else each[place] for each in figures] if known else None

    return Signals(
        rows=len(requests),
        prompts=[row_text(request) for request in requests],
        answers=list(values),
        mean_logprob=column(0),
        min_logprob=column(1),
        margin=column(2),
        answer_tokens=[float(answer.generated_tokens) for answer in answers],  # type: ignore[arg-type]
        parse_failed=[float(value is None) for value in values],  # type: ignore[arg-type]
    )
