"""What spark.llm.budget says: an amount and its unit, read by the same rule in Budget.scala."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

EXPECTED: Final = "an amount with its unit, such as 500ktok, 5Mtok, 1.5Gtok, 20usd, 90s, 30min or 2h"
_FORM: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]+)", re.IGNORECASE)
_UNITS: Final = {
    "tok": ("tok", 1.0), "ktok": ("tok", 1e3), "mtok": ("tok", 1e6), "gtok": ("tok", 1e9),
    "usd": ("usd", 1.0),
    "s": ("s", 1.0), "min": ("s", 60.0), "h": ("s", 3600.0),
}  # fmt: skip


class Budget(NamedTuple):
    """A budget.

    Attributes:
        amount: how much, in units of ``unit``; more than 0.
        unit: ``tok`` (tokens of prompts and answers), ``usd`` (US dollars) or ``s`` (seconds of wall time).
    """

    amount: float
    unit: str


def parse_budget(text: str) -> Budget:
    """Returns the budget that ``text`` means; units are read whatever their case.

    Raises:
        ValueError: no amount over 0 with one of the units; a number alone says too little.
    """
    number, written = split_budget(text)
    unit, factor = _UNITS[written.lower()]
    return Budget(number * factor, unit)


def split_budget(text: str) -> tuple[float, str]:
    """Returns the number and the unit as they are written: 5.0 and ``Mtok``.

    Raises:
        ValueError: see `parse_budget`.
    """
    match = _FORM.fullmatch(text.strip())
    if match is None or match[2].lower() not in _UNITS or float(match[1]) == 0:
        raise ValueError(text)
    return float(match[1]), match[2]
