"""One entry of the configuration: what it is called, how its text is read, what it may be."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from spark_llm.budget_conf import EXPECTED, parse_budget
from spark_llm.errors import invalid_conf

if TYPE_CHECKING:
    from collections.abc import Callable

Kind = Literal["string", "boolean", "int", "float", "bytes", "duration", "json", "reference", "budget"]
Scope = Literal["runtime", "restart"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One configuration entry.

    Attributes:
        key: full key; ``<name>`` in it stands for one word without dots.
        kind: how the value is parsed. bytes: 512, 64k, 8m, 2g; duration: 250ms, 30s, 10min, 1h, 7d;
            reference: env:NAME or file:PATH, never the credential itself; budget: see `budget_conf`.
        default: as a user would write it; None when being unset has a meaning of its own, told in ``doc``.
        doc: one or two sentences, with the unit.
        scope: both follow SET: runtime at the next query, restart by starting the executor's
            engine again as soon as no task uses it.
        allowed: the only values taken, if there are such.
        low: the smallest number taken (``high`` the largest); in the base unit: bytes, seconds.
        since: the release that brought it.
    """

    key: str
    kind: Kind
    default: str | None
    doc: str
    scope: Scope = "runtime"
    allowed: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    since: str = "0.1.0"

    def parse(self, text: str, key: str | None = None) -> Any:
        """Returns the typed value of ``text``: bytes as int, durations as float seconds, JSON as a dict.

        Raises:
            SparkLLMError: LLM_INVALID_CONF, naming the value that came and what was expected.
        """
        shown = "(hidden)" if self.kind == "reference" else text
        try:
            value = _PARSERS[self.kind](text.strip())
        except (ValueError, OverflowError):
            raise invalid_conf(key or self.key, shown, self.expected()) from None
        if self.allowed and value not in self.allowed:
            raise invalid_conf(key or self.key, shown, self.expected())
        too_low = self.low is not None and not value >= self.low
        if too_low or (self.high is not None and not value <= self.high):
            raise invalid_conf(key or self.key, shown, self.expected())
        return value

    def expected(self) -> str:
        """Returns what is allowed, in words, for error texts and the documentation."""
        if self.allowed:
            return " | ".join(self.allowed)
        low = f" from {self.low:g}" if self.low is not None else ""
        return _EXPECTED[self.kind] + low + (f" to {self.high:g}" if self.high is not None else "")


def _boolean(text: str) -> bool:
    if text.lower() not in {"true", "false"}:
        _refuse(text)
    return text.lower() == "true"


def _refuse(text: str) -> Any:
    raise ValueError(text)


# Sizes and times are read by the same rules in LLMConf.scala; tests/core/test_conf_texts.py has the texts.
def _bytes(text: str) -> int:
    match = re.fullmatch(r"([0-9]+)\s*([kmgt]?)(?:i?b)?", text, re.IGNORECASE) or _refuse(text)
    return int(match[1]) << (10 * " kmgt".index(match[2].lower() or " "))


_SECONDS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def _duration(text: str) -> float:
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|min|m|h|d|)", text, re.IGNORECASE) or _refuse(text)
    return float(match[1]) * _SECONDS[match[2].lower()]


def _json_object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    return value if isinstance(value, dict) else _refuse(text)


def _reference(text: str) -> str:
    return text if re.fullmatch(r"env:\w+|file:.+", text) else _refuse(text)


_PARSERS: Final[dict[str, Callable[[str], Any]]] = {
    "string": str,
    "boolean": _boolean,
    "int": int,
    "float": float,
    "bytes": _bytes,
    "duration": _duration,
    "json": _json_object,
    "reference": _reference,
    "budget": parse_budget,
}
_EXPECTED: Final = {
    "string": "text",
    "boolean": "true | false",
    "int": "a whole number",
    "float": "a number",
    "bytes": "a size such as 512, 64k, 8m, 2g",
    "duration": "a time such as 250ms, 30s, 10min, 1h, 7d",
    "json": "a JSON object",
    "reference": "env:NAME or file:PATH",
    "budget": EXPECTED,
}
