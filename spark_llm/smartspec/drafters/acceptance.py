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
    """Rates by kind: a prior that counts as eight outcomes, then a moving average over about 400.

    Attributes:
        rates: shape (kinds,): share of a kind's tokens that were right where all before them were.
    """

    def __init__(self, priors: Sequence[float]) -> None:
        """Starts from rates that are assumed before anything is known, shape (kinds,)."""
        self.rates = list(priors)
        self._outcomes = [_PRIOR_WEIGHT] * len(self.rates)

    def learn(self, tokens: Iterable[int], kinds: Iterable[int], came: Sequence[int]) -> None:
        """Compares a candidate with what came; of what lies behind a wrong token nothing is known."""
        for token, kind, right in zip(tokens, kinds, came, strict=False):
            outcomes = self._outcomes[kind] = min(self._outcomes[kind] + 1, _WINDOW)
            self.rates[kind] += ((token == right) - self.rates[kind]) / outcomes
            if token != right:
                return
