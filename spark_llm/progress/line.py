"""A call's state in words: ``43 % · 168k/388k prompts · 21.4k tok/s · hit 64 % · 12 failed · ETA 6:10``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_llm.progress.budget import spent

if TYPE_CHECKING:
    from spark_llm.progress.model import CallState, QueryState


def shown_call(query: QueryState) -> CallState:
    """Returns the call that the one line is about: the first that is not done."""
    return next((call for call in query.calls if call.share is None or call.share < 1), query.calls[-1])


def head(call: CallState, query: QueryState) -> str:
    """Returns ``call 1/2``."""
    return f"call {call.number}/{len(query.calls)}"


def parts(call: CallState, query: QueryState) -> list[str]:
    """Returns the figures of a line; what is not known is not in it."""
    found = []
    if call.share is not None:
        # 100 % is said when it is true
        found.append(f"{min(99, int(100 * call.share)) if call.share < 1 else 100} %")
    if call.expected_rows is None or query.ended:
        found.append(f"{short(call.answered_rows)} prompts")
    else:
        about = "" if call.exact else "~"
        found.append(f"{short(call.answered_rows)}/{about}{short(call.expected_rows)} prompts")
    if query.ended:
        found.append(f"{short(call.tokens)} tok")
    elif call.tokens_per_s is not None:
        found.append(f"{short(call.tokens_per_s)} tok/s")
    if call.hit_share is not None:
        found.append(f"hit {100 * call.hit_share:.0f} %")
    if call.cached_rows:
        found.append(f"{short(call.cached_rows)} from cache")
    if call.retries:
        found.append(f"{short(call.retries)} retries")
    if call.failed_rows:
        found.append(f"{short(call.failed_rows)} failed")
    if call.over_budget_rows:
        found.append(f"{short(call.over_budget_rows)} over budget")
    if query.ended:
        found.append(("failed after " if query.failed else "done in ") + clock(query.elapsed_s))
    elif call.left_s is not None:
        found.append(f"ETA {clock(call.left_s)}")
    budget = spent(query)
    return [*found, budget] if budget else found


def line(call: CallState, query: QueryState) -> str:
    """Returns the whole line."""
    return f"{head(call, query)}  {' · '.join(parts(call, query))}"


def short(count: float) -> str:
    """Returns ``950``, ``21.4k``, ``168k``, ``1.25M``: three digits are what a reader keeps."""
    for scale, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        value = count / scale
        if value >= 0.9995:
            digits = 0 if value >= 99.95 else 1 if value >= 9.995 or letter == "k" else 2
            return f"{value:.{digits}f}{letter}"
    return f"{count:.0f}"


def clock(seconds: float) -> str:
    """Returns ``0:07``, ``6:10`` or ``1:02:03``."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
