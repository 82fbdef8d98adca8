"""How much of ``spark.llm.budget`` is spent, for the eye; what enforces it is elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_llm.budget_conf import parse_budget, split_budget

if TYPE_CHECKING:
    from spark_llm.progress.model import QueryState


def spent(query: QueryState) -> str | None:
    """Returns ``0.8/5.0 Mtok``, ``1.20/20.00 usd`` or ``4/30 min``; None without a budget."""
    text = query.conf.get("spark.llm.budget", "")
    try:
        number, written = split_budget(text)
    except ValueError:
        return None
    budget = parse_budget(text)
    each = budget.amount / number
    if budget.unit == "tok":
        used = query.prompt_tokens + query.generated_tokens
        return f"{used / each:.1f}/{number:.1f} {written}" if each > 1 else f"{used:,.0f}/{number:,.0f} tok"
    if budget.unit == "usd":
        return f"{_usd(query):.2f}/{number:.2f} usd"
    return f"{query.elapsed_s / each:.0f}/{number:g} {written.lower()}"


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
