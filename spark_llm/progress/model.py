"""From counts that come now and then to a state: rate, share, seconds left; pure, the clock is in the data.

    work left = bytes of rows not answered yet, where the exchange has counted them; else rows
    tokens left = tokens so far x work left / work done          seconds left = tokens left / recent rate

Rows are no measure of time when they are sorted: the long ones may come last. Bytes of a row are what its
prompt is made of, and tokens so far contain what deduplication and the response cache spare.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RATE_OVER_S: Final = 30.0
# Earlier a rate is the first answers' alone, and the seconds left would jump about.
LEAST_RATE_S: Final = 2.0
LEAST_SHARE: Final = 0.005


@dataclass(frozen=True, slots=True)
class CallState:
    """One call at one moment.

    Attributes:
        number: from 1, in the order in which calls run.
        answered_rows: rows with their answer, failed and skipped ones included.
        expected_rows: rows that will come; None where that is not known.
        exact: the expected rows were counted, not estimated.
        share: of the work done, 0 to 1; None where the rest is not known.
        tokens: of prompts and answers so far.
        tokens_per_s: over the last half minute; None before anything came.
        hit_share: prompt tokens found in the prefix cache; None before the first prompt.
        failed_rows: rows that ended with a condition.
        cached_rows: rows answered from the response cache, 0 without one.
        retries: requests sent again, 0 where nothing counts them.
        over_budget_rows: rows not asked because the budget was spent.
        left_s: seconds to go; None where they cannot be told.
    """

    number: int
    answered_rows: int
    expected_rows: int | None
    exact: bool
    share: float | None
    tokens: int
    tokens_per_s: float | None
    hit_share: float | None
    failed_rows: int
    cached_rows: int
    retries: int
    over_budget_rows: int
    left_s: float | None


@dataclass(frozen=True, slots=True)
class QueryState:
    """One query at one moment.

    Attributes:
        number: Spark's id of its execution.
        elapsed_s: since its start, or what it took.
        ended: it runs no more; failed: with an error.
        console_bar: Spark draws its own bar in the terminal.
        conf: entries of spark.llm.* that progress needs.
        calls: in the order in which they run.
        prompt_tokens: of all calls; cached ones included.
        cached_prompt_tokens: of all calls.
        generated_tokens: of all calls.
    """

    number: int
    elapsed_s: float
    ended: bool
    failed: bool
    console_bar: bool
    conf: Mapping[str, str]
    calls: Sequence[CallState]
    prompt_tokens: int
    cached_prompt_tokens: int
    generated_tokens: int


class _Seen(NamedTuple):
    at_s: float
    tokens: int


class Model:
    """Keeps what is needed of the past to tell rates. One for all queries of an application."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, int], deque[_Seen]] = {}

    def update(self, snapshot: Mapping[str, Any]) -> list[QueryState]:
        """Returns the queries of a snapshot of catalyst/Progress.scala, oldest first."""
        now_s, queries = snapshot["now_ms"] / 1000, snapshot["queries"]
        running = {query["id"] for query in queries}
        self._seen = {key: seen for key, seen in self._seen.items() if key[0] in running}
        return [self._query(query, now_s) for query in queries]

    def _query(self, query: Mapping[str, Any], now_s: float) -> QueryState:
        ended = query["ended_ms"] is not None
        expected: dict[int, float | None] = {}
        by_number = {call["number"]: call for call in query["calls"]}
        calls = []
        for call in query["calls"]:
            rows, exact = _expected_rows(call, by_number, expected)
            expected[call["number"]] = rows
            seen = self._seen.setdefault((query["id"], call["number"]), deque())
            calls.append(_call(call, rows, exact, ended, seen, now_s))
        end_s = query["ended_ms"] / 1000 if ended else now_s
        return QueryState(
            query["id"],
            max(0.0, end_s - query["started_ms"] / 1000),
            ended,
            bool(query["failed"]),
            bool(query["console_bar"]),
            query["conf"],
            calls,
            *(sum(_count(call, name) for call in query["calls"]) for name in _TOKENS),
        )


_TOKENS: Final = ("promptTokens", "cachedPromptTokens", "generatedTokens")


def _count(call: Mapping[str, Any], name: str) -> int:
    # Counters of parts that a release does not have are simply not there.
    return int(call["metrics"].get(name, 0))


def _expected_rows(
    call: Mapping[str, Any], calls: Mapping[int, Mapping[str, Any]], expected: Mapping[int, float | None]
) -> tuple[float | None, bool]:
    """Rows that will reach a call, and whether they were counted."""
    here = _count(call, "rows")
    if call["follows"] is None:
        rows, exact = call["rows_expected"], bool(call["rows_exact"])
        # An estimate that more rows than that disprove says nothing any more.
        return (None, False) if rows is not None and here > rows else (rows, exact)
    below = calls[call["follows"]]
    total, answered = expected.get(call["follows"]), _count(below, "outputRows")
    if total is None or answered < LEAST_SHARE * total or answered == 0:
        return None, False
    return max(here, total * here / answered), answered >= total


def _call(
    call: Mapping[str, Any],
    rows: float | None,
    exact: bool,
    ended: bool,
    seen: deque[_Seen],
    now_s: float,
) -> CallState:
    answered, came = _count(call, "outputRows"), _count(call, "rows")
    prompt, cached, generated = (_count(call, name) for name in _TOKENS)
    tokens = prompt + generated
    if not tokens:
        # Rates begin with the call's work: before, other stages and other calls had the time.
        seen.clear()
    seen.append(_Seen(now_s, tokens))
    while len(seen) > 2 and now_s - seen[1].at_s >= RATE_OVER_S:
        seen.popleft()
    span_s = now_s - seen[0].at_s
    rate = (tokens - seen[0].tokens) / span_s if span_s >= LEAST_RATE_S else None
    share = 1.0 if ended else _share(call, rows, answered)
    left_s = None
    if share is not None and rate is not None and rate > 0 and share >= LEAST_SHARE and not ended:
        left_s = tokens * (1 - share) / share / rate
    if share == 1.0:
        left_s = 0.0
    return CallState(
        call["number"],
        answered,
        came if ended else (None if rows is None else round(rows)),
        ended or exact,
        share,
        tokens,
        rate if tokens and rate is not None and rate >= 0 else None,
        cached / prompt if prompt else None,
        _count(call, "failedRows"),
        _count(call, "cachedRows"),
        _count(call, "retries"),
        _count(call, "overBudgetRows"),
        left_s,
    )


def _share(call: Mapping[str, Any], rows: float | None, answered: int) -> float | None:
    size = call["bytes_expected"]
    if size and call["rows_exact"]:
        return min(1.0, _count(call, "outputBytes") / float(size))
    if rows is None:
        return None
    return min(1.0, answered / rows) if rows else 1.0
