"""Numbers as people read them, in the printed and in the HTML reports."""

from __future__ import annotations

from typing import Final

_MILLION: Final = 1_000_000
_THOUSAND: Final = 10_000


def percent(share: float) -> str:
    """Returns ``37 %``; one decimal below 10 %, and never 100 % for less than all."""
    value = 100 * share
    if 0 < value < 0.1:
        return "< 0.1 %"
    if 0 < value < 10 or 99 < value < 100:
        return f"{min(value, 99.9):.1f} %"
    return f"{value:.0f} %"


def short(count: float) -> str:
    """Returns ``3.59 M``, ``36 k`` or ``1,234``: three digits are what a reader keeps."""
    if count >= _MILLION:
        return f"{count / _MILLION:.2f} M"
    return f"{count / 1000:.0f} k" if count >= _THOUSAND else f"{count:,.0f}"


def share(part: float, whole: float) -> str:
    """Returns a part as a percentage; empty for a part of nothing."""
    return percent(part / whole) if whole else ""


def cut(text: str, chars: int) -> str:
    """Returns the text, its end replaced by … where it is longer."""
    return text if len(text) <= chars else text[: chars - 1] + "…"
