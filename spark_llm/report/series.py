"""Readings at odd times, of several engines, to values on one grid of times.

counter   engine 1  0 ── 40 ─────── 100     rate between two readings = difference / time between them
          engine 2  0 ─────── 10 ── 30      sum of the rates; a counter that falls began anew
gauge     each engine's last reading, summed up; of the KV cache's share, the mean
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from spark_llm.report.read import Reading, Run

MOST_POINTS: Final = 160
_LEAST_STEP_S: Final = 1.0
# An engine that said nothing for this long is not there any more.
_STALE_S: Final = 10.0
_Line = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Speculation:
    """Speculative decoding over the same grid; see docs/metrics.md.

    Attributes:
        draft_length: draft tokens a row and step.
        acceptance: share of them that were right.
        goodput: tokens that decoding rows gained a second of engine time, all engines together.
        decision_ms: milliseconds a step that choosing took.
    """

    draft_length: Sequence[float | None]
    acceptance: Sequence[float | None]
    goodput: Sequence[float | None]
    decision_ms: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Swap:
    """KV that goes to the host tier and comes back, over the same grid; see docs/swap.md.

    Attributes:
        loaded_per_s: bytes that came back, all engines together.
        stored_per_s: bytes that went there.
    """

    loaded_per_s: Sequence[float]
    stored_per_s: Sequence[float]


@dataclass(frozen=True, slots=True)
class Series:
    """The engines over the time of a query.

    Attributes:
        seconds: middle of each step since the query's start, shape (n,).
        of_engines: read from the engines; else counted by the query's tasks, and the gauges are None.
        running: requests in the engines.
        waiting: requests that wait there.
        tokens_per_s: of prompts and answers.
        generated_per_s: of answers alone.
        hit_share: of prompt tokens found in the prefix cache or the host tier; None where nothing was asked.
        kv_share: of the KV cache in use.
        speculation: None where no engine speculates.
        swap: None where no engine swaps.
    """

    seconds: Sequence[float]
    of_engines: bool
    running: Sequence[float | None]
    waiting: Sequence[float | None]
    tokens_per_s: Sequence[float | None]
    generated_per_s: Sequence[float | None]
    hit_share: Sequence[float | None]
    kv_share: Sequence[float | None]
    speculation: Speculation | None = None
    swap: Swap | None = None


def series_of(run: Run) -> Series | None:
    """Returns the series of a query; None where there is no reading of two different times."""
    for readings, of_engines in ((run.engines, True), (run.tasks, False)):
        lines = [line for line in _by_executor(readings).values() if len(line) > 1]
        if lines and run.seconds > 0:
            return _series(run, lines, of_engines)
    return None


def _series(run: Run, lines: list[list[Reading]], of_engines: bool) -> Series:
    count = max(2, min(MOST_POINTS, int(run.seconds / _LEAST_STEP_S)))
    step = run.seconds / count
    grid = [(at + 0.5) * step for at in range(count)]

    def rate(name: str) -> list[float]:
        totals = [0.0] * count
        for line in lines if of_engines else map(_arrivals, lines):
            bounds, rates = _rates([_point(run, reading, name) for reading in line])
            for at, second in enumerate(grid):
                place = bisect_right(bounds, second)
                totals[at] += rates[place - 1] if 0 < place <= len(rates) else 0.0
        return totals

    def gauge(name: str, join: Callable[[list[float]], float]) -> list[float | None]:
        if not of_engines:
            return [None] * count
        found: list[float | None] = []
        points = [[_point(run, reading, name) for reading in line] for line in lines]
        for second in grid:
            values = [value for line in points if (value := _last(line, second, step)) is not None]
            found.append(join(values) if values else None)
        return found

    queries, local, external = map(
        rate, ("prefix_cache_queries", "prefix_cache_hits", "external_prefix_cache_hits")
    )
    hits = [a + b for a, b in zip(local, external, strict=True)]
    prompt, generated = rate("prompt_tokens"), rate("generation_tokens")
    return Series(
        grid,
        of_engines,
        gauge("num_requests_running", sum),
        gauge("num_requests_waiting", sum),
        [a + b for a, b in zip(prompt, generated, strict=True)],
        generated,
        [min(1.0, hit / asked) if asked > 0 else None for asked, hit in zip(queries, hits, strict=True)],
        gauge("kv_cache_usage_perc", _mean),
        _speculation(gauge) if any("speculation_goodput" in each.values for each in run.engines) else None,
        _swap(rate) if any(each.values.get("kv_offload_store_bytes") for each in run.engines) else None,
    )


def _swap(rate: Callable[[str], list[float]]) -> Swap:
    return Swap(rate("kv_offload_load_bytes"), rate("kv_offload_store_bytes"))


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _speculation(gauge: Callable[[str, Callable[[list[float]], float]], list[float | None]]) -> Speculation:
    seconds = gauge("speculation_decision_seconds", _mean)
    return Speculation(
        gauge("speculation_draft_length", _mean),
        gauge("speculation_acceptance_rate", _mean),
        gauge("speculation_goodput", sum),
        [None if value is None else 1000 * value for value in seconds],
    )


def _by_executor(readings: Sequence[Reading]) -> dict[str, list[Reading]]:
    found: dict[str, list[Reading]] = {}
    for reading in readings:
        found.setdefault(reading.executor, []).append(reading)
    # the later one of two readings of one time
    return {
        name: sorted({each.at_ms: each for each in line}.values(), key=lambda reading: reading.at_ms)
        for name, line in found.items()
    }


def _point(run: Run, reading: Reading, name: str) -> tuple[float, float]:
    return (reading.at_ms - run.started_ms) / 1000, reading.values.get(name, 0.0)


def _arrivals(line: list[Reading]) -> list[Reading]:
    """The readings in which something is new, the first and the last.

    Counts of tasks arrive now and then; between two arrivals nobody knows when they happened.
    """
    middle = [now for before, now in pairwise(line[:-1]) if now.values != before.values]
    return [line[0], *middle, line[-1]]


def _rates(points: _Line) -> tuple[list[float], list[float]]:
    """Bounds of intervals (n + 1,) and the rate in each (n,)."""
    rates = []
    for (begin, before), (end, now) in pairwise(points):
        gained = now - before if now >= before else now
        rates.append(gained / (end - begin))
    return [second for second, _ in points], rates


def _last(points: _Line, second: float, step: float) -> float | None:
    # Readings are some seconds apart: one that comes within this step counts as well.
    place = bisect_right([at for at, _ in points], second + step / 2)
    if place == 0 or second - points[place - 1][0] > max(_STALE_S, step):
        return None
    return points[place - 1][1]
