"""Fixed answers for the fake engine, read from a JSON file."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from spark_llm import errors

if TYPE_CHECKING:
    from collections.abc import Sequence

_KEY = "spark.llm.fake.answers"


@dataclass(frozen=True, slots=True)
class Rule:
    """Answer `answer` when `when` is a part of the message or, as a regular expression, is found in it.

    With thinking, answer `reasoned` after `thinking_tokens` of it, both None where the rule does not say.
    """

    when: str
    answer: str
    pattern: re.Pattern[str] | None = None
    reasoned: str | None = None
    thinking_tokens: int | None = None

    @classmethod
    def of(
        cls, when: str, answer: object, reasoned: object = None, thinking_tokens: int | None = None
    ) -> Rule:
        """A rule; an answer that is not a string becomes JSON, a `when` that is no regex is plain text."""
        try:
            pattern: re.Pattern[str] | None = re.compile(when)
        except re.error:
            pattern = None
        thought = None if reasoned is None else _text(reasoned)
        return cls(when, _text(answer), pattern, thought, thinking_tokens)


def _text(answer: object) -> str:
    return answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)


def first_rule(rules: Sequence[Rule], user: str) -> Rule | None:
    """The first rule that fires, if any does."""
    for rule in rules:
        if rule.when in user or (rule.pattern is not None and rule.pattern.search(user)):
            return rule
    return None


def load_rules(path: str) -> tuple[Rule, ...]:
    """Reads the rules of a JSON file.

    Raises:
        SparkLLMError: LLM_INVALID_CONF when the file cannot be read or has another form.
    """
    expected = (
        'the path of a JSON file that holds a list of {"when": TEXT, "answer": ANY}, '
        'with {"reasoned": ANY, "thinking": NUMBER} for the mode that thinks'
    )
    try:
        entries = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise errors.invalid_conf(_KEY, path, f"{expected} ({error})") from error
    if not isinstance(entries, list):
        raise errors.invalid_conf(_KEY, path, f"{expected}; the file holds a {type(entries).__name__}")
    for number, entry in enumerate(entries):
        if not (
            isinstance(entry, dict)
            and isinstance(entry.get("when"), str)
            and "answer" in entry
            and isinstance(entry.get("thinking", 0), int)
        ):
            raise errors.invalid_conf(_KEY, path, f"{expected}; entry {number} has another form")
    return tuple(
        Rule.of(entry["when"], entry["answer"], entry.get("reasoned"), entry.get("thinking"))
        for entry in entries
    )
