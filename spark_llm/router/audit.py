"""Does a fitted router still fit? One row in a hundred gets both arms, and their agreement is watched."""

from __future__ import annotations

import math
from dataclasses import dataclass
from hashlib import blake2b
from statistics import NormalDist
from typing import Final

SHARE: Final = 0.01
SIGNIFICANCE: Final = 0.01
FEWEST: Final = 30
GROWTH: Final = 1.25
"""Audited rows over those of the look before."""


def audited(key: str, share: float = SHARE) -> bool:
    """Whether a row belongs to the audit: by its hash, so always the same rows.

    Args:
        key: the row's text.
        share: of the rows.
    """
    digest = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8, person=b"audit").digest()
    return int.from_bytes(digest) < share * 2**64


@dataclass(slots=True)
class Audit:
    """Counts agreement on audited rows and says when it fell below that of the pilot.

    The test is the two-proportion z test with pooled variance, one-sided. It is made again as audited rows
    grow by a quarter; the k-th spends `6 / (π·k)²` of a level of 1 %, so that all together stay below it.

    Attributes:
        pilot_agree: pilot rows on which both arms gave the same answer.
        pilot_rows: rows of the pilot.
        agree: of audited rows.
        rows: audited.
        looks: how often the test was made.
        looked_rows: audited when it was last made.
        drifted: whether it ever failed.
    """

    pilot_agree: float
    pilot_rows: int
    agree: float = 0.0
    rows: int = 0
    looks: int = 0
    looked_rows: int = 0
    drifted: bool = False

    def add(self, agree: float, rows: int) -> None:
        """Adds audited rows.

        Args:
            agree: rows on which both arms gave the same answer.
            rows: how many were audited.
        """
        self.agree += agree
        self.rows += rows

    def look(self) -> bool:
        """Whether agreement has fallen: then the router is to be fitted anew. Needs 30 audited rows."""
        if self.drifted or self.rows < max(FEWEST, GROWTH * self.looked_rows) or not self.pilot_rows:
            return self.drifted
        self.looks, self.looked_rows = self.looks + 1, self.rows
        level = SIGNIFICANCE * 6 / (math.pi * self.looks) ** 2
        pooled = (self.agree + self.pilot_agree + 1) / (self.rows + self.pilot_rows + 2)
        spread = math.sqrt(pooled * (1 - pooled) * (1 / self.rows + 1 / self.pilot_rows))
        z = (self.agree / self.rows - self.pilot_agree / self.pilot_rows) / spread
        self.drifted = z < NormalDist().inv_cdf(level)
        return self.drifted

    def reason(self) -> str:
        """Agreement then and now, in words and numbers."""
        if not self.rows or not self.pilot_rows:
            return "no rows audited yet"
        now, then = self.agree / self.rows, self.pilot_agree / self.pilot_rows
        verdict = "fallen: the router is fitted anew" if self.drifted else "no significant fall"
        agree = (
            f"arms agree on {now:.1%} of {self.rows} audited rows, {then:.1%} of {self.pilot_rows} pilot rows"
        )
        return f"{agree}: {verdict}"
