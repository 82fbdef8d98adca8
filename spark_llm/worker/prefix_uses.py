"""What the prompts of a planned window share, before any is sent: the planner's junctions, in characters.

    sending order   0  instruction │ film A │ …     (chars of │, uses after this row, rows to the next)
                    1  instruction │ film A │ …     row 0: (40, 3, 1) (900, 1, 1)
                    2  instruction │ film B │ …     row 1: (40, 2, 1) (900, 0, 0)
                    3  instruction │ film B │ …     row 2: (40, 1, 1) (800, 1, 1)

Sorted prompts, and what neighbours of them share, give all common prefixes as a tree of intervals, in the
time of sorting. Prefixes that end within a block of a shorter one say nothing new to a cache of whole blocks.

Source: LCP intervals, Abouelhoda et al. 2004, "Replacing suffix trees with enhanced suffix arrays".
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from spark_llm.engine.types import PrefixUse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MOST_PREFIXES: Final = 8
"""Of a prompt; the longest are told."""


def prefix_uses(prompts: Sequence[str], least_chars: int) -> list[tuple[PrefixUse, ...]]:
    """Returns what each prompt shares with others, the shortest prefix first.

    The first entry is what all prompts share, be it nothing: what comes before a prompt is shared by all.

    Args:
        prompts: in sending order.
        least_chars: a prefix that is longer than the one before by less is left out.
    """
    found: list[list[PrefixUse]] = [[] for _ in prompts]
    if len(prompts) > 1:
        order = sorted(range(len(prompts)), key=prompts.__getitem__)
        shared = [_shared(prompts[a], prompts[b]) for a, b in pairwise(order)]
        for chars, first, last in _intervals(shared):
            rows = sorted(order[first : last + 1])
            told = zip(rows, rows[1:] + rows[-1:], range(len(rows) - 1, -1, -1), strict=True)
            for row, following, uses in told:
                found[row].append(PrefixUse(chars, uses, following - row))
    # Longer prefixes come before those that they begin with.
    return [_told(each, least_chars) for each in found]


def _told(longest_first: list[PrefixUse], least_chars: int) -> tuple[PrefixUse, ...]:
    told: list[PrefixUse] = []
    for use in reversed(longest_first):
        if not told or use.chars >= told[-1].chars + least_chars:
            told.append(use)
    return tuple(told[-MOST_PREFIXES:])


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
