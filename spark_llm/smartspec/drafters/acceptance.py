"""How often drafts of each kind were right: one learned rate per kind, from what rows went on with.

Every candidate draft is compared with the tokens that came, whether it was verified or not: a rate that only
saw verified drafts would be biased towards the rows they were chosen for, and would never recover.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

_PRIOR_WEIGHT: Final = 8.0
_WINDOW: Final = 400.0


class Acceptance:
    """Rates by kind: a prior that counts as eight outcomes, then a moving average over about 400."""

    def __init__(self) -> None:
        self._rates: dict[tuple[str, int], list[float]] = {}

    def rate(self, kind: tuple[str, int], prior: float) -> float:
        """Share of a kind's tokens that were right where all before them were.

        Args:
            kind: drafter, and what tells its good drafts from its bad ones.
            prior: the rate before anything is known.
        """
        known = self._rates.get(kind)
        if known is None:
            known = self._rates[kind] = [prior, _PRIOR_WEIGHT]
        return known[0]

    def learn(self, tokens: Iterable[int], kinds: Iterable[tuple[str, int]], came: Sequence[int]) -> None:
        """Compares a candidate, whose rates were asked for, with what came; no more than that is known."""
        for token, kind, right in zip(tokens, kinds, came, strict=False):
            known = self._rates[kind]
            known[1] = min(known[1] + 1, _WINDOW)
            known[0] += ((token == right) - known[0]) / known[1]
            if token != right:
                return
