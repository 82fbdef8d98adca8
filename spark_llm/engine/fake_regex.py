"""A text that matches a regular expression, picked by a number."""

from __future__ import annotations

import functools

# The parser of `re` itself reads exactly what `re` reads; it is private, hence used in this file alone.
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

from spark_llm import errors

_PRINTABLE = "".join(map(chr, range(32, 127)))
_CLASSES = {
    op.CATEGORY_DIGIT: "0123456789",
    op.CATEGORY_SPACE: " ",
    op.CATEGORY_WORD: "abcdefghijklmnopqrstuvwxyz0123456789_",
    op.CATEGORY_NOT_DIGIT: "abcdefghijklmnopqrstuvwxyz",
    op.CATEGORY_NOT_SPACE: "abcdefghijklmnopqrstuvwxyz0123456789",
    op.CATEGORY_NOT_WORD: " ",
}
_MOST_REPEATS = 8


def regex_value(regex: str, number: int) -> str:
    """A text that `regex` matches as a whole; equal numbers give equal texts.

    Raises:
        SparkLLMError: LLM_REQUEST_REJECTED for look-around and back-references, which engines refuse as well.
    """
    walk = _Walk(number)
    walk.sequence(_parsed(regex))
    return "".join(walk.out)


@functools.lru_cache(maxsize=64)
def _parsed(regex: str) -> Any:
    return parser.parse(regex)


class _Walk:
    """One way through a parsed regex; every choice takes a part of a number (a small random generator)."""

    def __init__(self, number: int) -> None:
        self.out: list[str] = []
        self._state = number

    def _below(self, limit: int) -> int:
        self._state = (self._state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        return (self._state >> 33) % limit

    def sequence(self, items: Any) -> None:
        for code, arg in items:
            self._one(code, arg)

    def _one(self, code: Any, arg: Any) -> None:
        if code is op.LITERAL:
            self.out.append(chr(arg))
        elif code is op.IN:
            self._pick(_members(arg))
        elif code is op.NOT_LITERAL:
            self._pick(_PRINTABLE[1:].replace(chr(arg), ""))
        elif code is op.ANY:
            self._pick(_CLASSES[op.CATEGORY_NOT_DIGIT])
        elif code is op.BRANCH:
            self.sequence(arg[1][self._below(len(arg[1]))])
        elif code is op.SUBPATTERN:
            self.sequence(arg[3])
        elif code in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
            least, most, items = arg
            most = min(least + _MOST_REPEATS, most)
            for _ in range(least + self._below(most - least + 1)):
                self.sequence(items)
        elif code is op.ATOMIC_GROUP:
            self.sequence(arg)
        elif code is not op.AT:
            raise errors.request_rejected(
                f"the fake engine writes no text for {str(code).lower()} in a regex"
            )

    def _pick(self, letters: str) -> None:
        self.out.append(letters[self._below(len(letters))])


def _members(items: Any) -> str:
    negated = items[0][0] is op.NEGATE
    letters: set[str] = set()
    for code, arg in items[negated:]:
        if code is op.LITERAL:
            letters.add(chr(arg))
        elif code is op.RANGE:
            # A wide range (all of Unicode, say) is cut: some members are enough.
            letters.update(map(chr, range(arg[0], min(arg[1], arg[0] + 255) + 1)))
        elif code is op.CATEGORY:
            letters.update(_CLASSES[arg])
    if negated:
        letters = set(_PRINTABLE) - letters
    return "".join(sorted(letters))
