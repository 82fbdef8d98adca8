"""Everything that can go wrong, as one table of conditions.

    error-conditions.json      condition -> message with <params>, SQLSTATE, hint   (Scala reads it too)
            |
    SparkLLMError("LLM_…", {param: value})     or a named constructor: model_not_found(…)
            |
    "[LLM_…] what came, what was allowed. Hint: what to do. SQLSTATE: xxxxx"   str(error)
            |
    Spark wraps it (task failure, Py4J, Connect)
            |
    from_exception(exc)        finds the condition again, whatever it was wrapped in

Messages say what came and what was allowed, hints what to do; both are in the table alone.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import NamedTuple

ANSWER_HEAD_CHARS = 100
_PARAM = re.compile(r"<([a-zA-Z]+)>(\.?)")
_IN_TEXT = re.compile(r"\[(LLM_[A-Z_]+)\]\s*(.*?)\s*SQLSTATE: ([0-9A-Z]{5})", re.DOTALL)


class Condition(NamedTuple):
    """One row of the table; ``message`` and ``hint`` hold ``<param>`` placeholders."""

    name: str
    message: str
    sqlstate: str
    hint: str

    @property
    def params(self) -> frozenset[str]:
        """Names of all placeholders of message and hint."""
        return frozenset(match[1] for match in _PARAM.finditer(f"{self.message} {self.hint}"))


@functools.cache
def conditions() -> dict[str, Condition]:
    """Returns the table, by condition name."""
    text = resources.files("spark_llm").joinpath("error-conditions.json").read_text(encoding="utf-8")
    return {
        name: Condition(name, "\n".join(entry["message"]), entry["sqlState"], entry["hint"])
        for name, entry in json.loads(text).items()
    }


class SparkLLMError(Exception):
    """A failure with a condition, an SQLSTATE and a hint.

    Args:
        condition: a name of the table, e.g. ``LLM_ENGINE_FAILED``.
        params: values for the placeholders of the condition's message and hint, as a mapping or as named
            arguments; one that is missing stays visible as ``<param>``, so that a mistake in reporting never
            hides the failure itself.

    Attributes:
        condition: the name.
        params: the values, as text.
        sqlstate: five characters of Spark's own list.
        message: what happened, without hint: what the ``error.message`` of a row holds.
        hint: what to do about it.
    """

    def __init__(
        self, condition: str, params: Mapping[str, object] | None = None, /, **named: object
    ) -> None:
        self.condition = condition
        self.params: dict[str, str] = {key: str(value) for key, value in {**(params or {}), **named}.items()}
        entry = conditions().get(condition)
        if entry is None:
            self.sqlstate, self.message, self.hint = "XX000", str(self.params), ""
        else:
            self.sqlstate = entry.sqlstate
            self.message, self.hint = _fill(entry.message, self.params), _fill(entry.hint, self.params)
        hint = f"Hint: {self.hint}" if self.hint else ""
        words = (f"[{condition}]", self.message, hint, f"SQLSTATE: {self.sqlstate}")
        super().__init__(" ".join(filter(None, words)))

    def __reduce__(self) -> tuple[type[SparkLLMError], tuple[str, dict[str, str]]]:
        return type(self), (self.condition, self.params)

    def getCondition(self) -> str:  # noqa: N802  PySpark's own spelling, so that handlers written for it work
        """Returns the condition, as PySpark's exceptions do."""
        return self.condition

    def getSqlState(self) -> str:  # noqa: N802
        """Returns the SQLSTATE, as PySpark's exceptions do."""
        return self.sqlstate


def _fill(template: str, params: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        found = params.get(match[1], f"<{match[1]}>")
        return found.rstrip(".") + "." if match[2] else found

    return _PARAM.sub(value, template)


def from_exception(exc: BaseException) -> SparkLLMError | None:
    """Finds our error inside whatever Spark raised.

    Args:
        exc: an exception of Spark, Py4J or Connect, or one of ours.

    Returns:
        The error with condition, message, hint and SQLSTATE as first raised, or None when the failure is not
        ours. Spark carries text only, so ``params`` is empty.
    """
    seen: set[int] = set()
    link: BaseException | None = exc
    while link is not None and id(link) not in seen:
        if isinstance(link, SparkLLMError):
            return link
        seen.add(id(link))
        match = _IN_TEXT.search(str(link))
        if match is not None:
            error = SparkLLMError(match[1])
            error.message, _, error.hint = match[2].partition(" Hint: ")
            error.sqlstate = match[3]
            error.args = (match[0],)
            return error
        link = link.__cause__ or link.__context__
    return None


def listing(names: Iterable[str]) -> str:
    """Returns ``a, b, c``, or ``(none)``: how messages list what is allowed."""
    return ", ".join(names) or "(none)"


def model_not_found(model: str, known: Iterable[str] = ()) -> SparkLLMError:
    """Returns LLM_MODEL_NOT_FOUND, with the known names, the nearest first."""
    names = listing(nearest_first(model, known))
    return SparkLLMError("LLM_MODEL_NOT_FOUND", {"model": model, "known": names})


def engine_failed(reason: str, log: str = "(none)") -> SparkLLMError:
    """Returns LLM_ENGINE_FAILED; ``log`` is the path of the engine's log."""
    return SparkLLMError("LLM_ENGINE_FAILED", {"reason": reason, "log": log})


def endpoint_failed(endpoint: str, reason: str) -> SparkLLMError:
    """Returns LLM_ENDPOINT_FAILED; ``reason`` holds the HTTP status or the cause."""
    return SparkLLMError("LLM_ENDPOINT_FAILED", {"endpoint": endpoint, "reason": reason})


def output_invalid(type_name: str, answer: str, reason: str, *, quoting: bool) -> SparkLLMError:
    """Returns LLM_OUTPUT_INVALID with the answer's length, or, quoting, with its first 100 characters.

    Control characters are escaped. An answer may repeat the row: quoting is for
    spark.llm.logPrompts.enabled alone.
    """
    head = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in answer[:ANSWER_HEAD_CHARS])
    shown = f"starts with '{head}'" if quoting else f"is of length {len(answer):,}"
    return SparkLLMError("LLM_OUTPUT_INVALID", {"type": type_name, "answer": shown, "reason": reason})


def prompt_too_long(prompt_tokens: int, limit_tokens: int, answer_tokens: int) -> SparkLLMError:
    """Returns LLM_PROMPT_TOO_LONG with the sizes in tokens."""
    return SparkLLMError(
        "LLM_PROMPT_TOO_LONG", {"prompt": prompt_tokens, "limit": limit_tokens, "answer": answer_tokens}
    )


def request_rejected(reason: str) -> SparkLLMError:
    """Returns LLM_REQUEST_REJECTED with the engine's own words."""
    return SparkLLMError("LLM_REQUEST_REJECTED", {"reason": reason})


def invalid_option(option: str, value: object, expected: str) -> SparkLLMError:
    """Returns LLM_INVALID_OPTION for a named argument of the call."""
    return SparkLLMError("LLM_INVALID_OPTION", {"option": option, "value": value, "expected": expected})


def invalid_conf(key: str, value: str, expected: str) -> SparkLLMError:
    """Returns LLM_INVALID_CONF for a value that does not parse."""
    return SparkLLMError("LLM_INVALID_CONF", {"key": key, "value": value, "expected": expected})


def unsupported(feature: str, instead: str) -> SparkLLMError:
    """Returns LLM_UNSUPPORTED; ``instead`` is a sentence that says what to do."""
    return SparkLLMError("LLM_UNSUPPORTED", {"feature": feature, "instead": instead})


def nearest_first(name: str, known: Iterable[str]) -> list[str]:
    """Returns ``known`` with the names most like ``name`` first; the rest keep their alphabetical order."""
    import difflib

    rest = sorted(known)
    lower = {entry.lower(): entry for entry in reversed(rest)}
    close = [lower[match] for match in difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.5)]
    return close + [entry for entry in rest if entry not in close]
