"""What the prompts of a planned window share, before any is sent: the planner's junctions, in characters.

    sending order   0  instruction │ film A │ …     (chars of │, uses after this row, rows to the next)
                    1  instruction │ film A │ …     row 0: (40, 3, 1) (900, 1, 1)
                    2  instruction │ film B │ …     row 1: (40, 2, 1) (900, 0, 0)
                    3  instruction │ film B │ …     row 2: (40, 1, 1) (800, 1, 1)

Sorted prompts, and what neighbours of them share, give all common prefixes as a tree of intervals. Prefixes
that end within a block of a shorter one say nothing new to a cache of whole blocks, and those more than
`MOST_LEVELS` deep are left out, so that texts that extend one another cost no square of their number.

Source: LCP intervals, Abouelhoda et al. 2004, "Replacing suffix trees with enhanced suffix arrays".
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from spark_llm.engine.types import PrefixUse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MOST_PREFIXES: Final = 8
"""Of a prompt; the longest are told."""
MOST_LEVELS: Final = 32
"""Prefixes of a prompt, one longer than the other, that are looked at, the shortest first."""


def prefix_uses(prompts: Sequence[str], least_chars: int) -> list[tuple[PrefixUse, ...]]:
    """Returns what each prompt shares with others, the shortest prefix first.

    The first entry is what all prompts share, be it nothing: what comes before a prompt is shared by all.

    Args:
        prompts: in sending order.
        least_chars: a prefix that is longer than the one before by less is left out.
    """
    found: list[deque[PrefixUse]] = [deque(maxlen=MOST_PREFIXES) for _ in prompts]
    if len(prompts) > 1:
        order = sorted(range(len(prompts)), key=prompts.__getitem__)
        shared = [_shared(prompts[a], prompts[b]) for a, b in pairwise(order)]
        for chars, first, last in _told(shared, least_chars):
            rows = sorted(order[first : last + 1])
            told = zip(rows, rows[1:] + rows[-1:], range(len(rows) - 1, -1, -1), strict=True)
            for row, following, uses in told:
                found[row].append(PrefixUse(chars, uses, following - row))
    return [tuple(each) for each in found]


def _told(shared: Sequence[int], least_chars: int) -> Iterator[tuple[int, int, int]]:
    """The intervals that are worth telling, each before those within it; see `_intervals`."""
    around: list[tuple[int, int, int]] = []
    for interval in reversed(list(_intervals(shared))):
        chars, first, last = interval
        while around and not around[-1][1] <= first <= last <= around[-1][2]:
            around.pop()
        if not around or (chars >= around[-1][0] + least_chars and len(around) < MOST_LEVELS):
            around.append(interval)
            yield interval


def _intervals(shared: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """(chars, first, last) of all groups of sorted prompts that share chars, a group after those within it.

    Args:
        shared: chars that each sorted prompt shares with the next one.
    """
    open_: list[tuple[int, int]] = [(min(shared), 0)]
    for at, chars in enumerate(shared):
        first = at
        while open_[-1][0] > chars:
            longer, first = open_.pop()
            yield longer, first, at
        if open_[-1][0] < chars:
            open_.append((chars, first))
    while open_:
        longer, first = open_.pop()
        yield longer, first, len(shared)


def _shared(one: str, other: str) -> int:
    """Characters that two texts begin with alike."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one.startswith(other[low:middle], low):
            low = middle
        else:
            high = middle - 1
    return low
