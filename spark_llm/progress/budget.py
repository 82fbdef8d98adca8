"""How much of ``spark.llm.budget`` is spent, for the eye; what enforces it is elsewhere."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spark_llm.progress.model import QueryState

_AMOUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kMG]?)(tok|usd|ms|min|s|m|h)", re.IGNORECASE)
_SCALES = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def spent(query: QueryState) -> str | None:
    """Returns ``0.8/5.0 Mtok``, ``1.20/20.00 usd`` or ``4/30 min``; None without a budget."""
    found = _AMOUNT.fullmatch(query.conf.get("spark.llm.budget", "").strip())
    if found is None:
        return None
    amount, scale, unit = float(found[1]), found[2], found[3].lower()
    if unit == "tok":
        used = (query.prompt_tokens + query.generated_tokens) / _SCALES[scale.lower()]
        return f"{used:.1f}/{amount:.1f} {scale}tok" if scale else f"{used:,.0f}/{amount:,.0f} tok"
    if unit == "usd":
        return f"{_usd(query):.2f}/{amount * _SCALES[scale.lower()]:.2f} usd"
    # "m" before "in" or alone is minutes, not a scale
    seconds = _SECONDS.get((scale + unit).lower(), _SECONDS.get(unit, 1.0))
    return f"{query.elapsed_s / seconds:.0f}/{amount:g} {(scale + unit).lower()}"


def _usd(query: QueryState) -> float:
    prompt = _price(query, "prompt")
    cached = _price(query, "cached", prompt)
    computed = query.prompt_tokens - query.cached_prompt_tokens
    spent_usd = computed * prompt + query.cached_prompt_tokens * cached
    return (spent_usd + query.generated_tokens * _price(query, "answer")) / 1e6


def _price(query: QueryState, name: str, default: float = 0.0) -> float:
    try:
        return float(query.conf[f"spark.llm.price.{name}"])
    except (KeyError, ValueError):
        return default
