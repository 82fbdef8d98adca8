"""Sums over a row: ``a * b + c - d``, right step by step and hard in one breath.

The model gets these right when it writes the three steps down. Without thinking it
would have to compute all of them in a single pass, which a model of this size cannot
learn from the few direct examples it sees.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from spark_llm.demo.catalog import MAX_PRICE, MIN_PRICE
from spark_llm.demo.splits import Split, side_of


@dataclass(frozen=True)
class Sum:
    """The operands of ``a * b + c - d``.

    Attributes:
        a: Quantity or boxes, 2 to 9.
        b: Price or pieces per box, 2 to 19.
        c: Shipping or loose pieces, 1 to 9.
        d: Discount or broken pieces, 1 to 9, never above ``a * b``.
    """

    a: int
    b: int
    c: int
    d: int

    @property
    def total(self) -> int:
        """The value of the sum."""
        return self.a * self.b + self.c - self.d

    @property
    def steps(self) -> str:
        """The calculation, ``"7*8=56; 56+9=65; 65-4=61"``."""
        product = self.a * self.b
        more = product + self.c
        return f"{self.a}*{self.b}={product}; {product}+{self.c}={more}; {more}-{self.d}={self.total}"


def make_sum(rng: Random, split: Split, b: int | None = None) -> Sum:
    """Draw operands whose combination belongs to ``split``.

    Args:
        rng: Source of randomness.
        split: Side of the combination of all four operands.
        b: Fixed second factor (the price of a given product), or ``None`` to draw it.

    Returns:
        The operands.
    """
    while True:
        drawn = Sum(
            a=rng.randint(2, 9),
            b=rng.randint(MIN_PRICE, MAX_PRICE) if b is None else b,
            c=rng.randint(1, 9),
            d=rng.randint(1, 9),
        )
        # The order of the factors is no new combination: both orders share a side.
        factors = sorted((drawn.a, drawn.b))
        key = f"{factors[0]}*{factors[1]}+{drawn.c}-{drawn.d}"
        if drawn.d <= drawn.a * drawn.b and side_of(key) == split:
            return drawn
