"""One training or test example, and the exact prompt the product sends for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

Value = str | int | bool


@dataclass(frozen=True)
class Example:
    """An instruction about a row, with its one right answer.

    Attributes:
        task: Name of the task, the unit of the accuracy table.
        instruction: What the SQL author writes as the first argument of ``LLM``.
        row: The fields given to ``LLM``; empty where there are none.
        answer: The exact text the model has to reply with.
        thinking: What the model writes before the answer when thinking is on.
        think: Whether this example is shown with thinking on.
    """

    task: str
    instruction: str
    row: Mapping[str, Value]
    answer: str
    thinking: str
    think: bool = False

    @property
    def user(self) -> str:
        """The user message: the instruction, then the row as JSON on a line of its own."""
        return user_message(self.instruction, self.row)


def user_message(instruction: str, row: Mapping[str, Value]) -> str:
    """Return the user message of the product's prompt.

    Args:
        instruction: The first argument of ``LLM``.
        row: Field names and values in prompt order; NULL fields left out.

    Returns:
        The instruction alone where ``row`` is empty, else instruction, newline, JSON.
    """
    if not row:
        return instruction
    return f"{instruction}\n{json.dumps(dict(row), ensure_ascii=False)}"
