"""The train / held-out split: decided by the name of an entity, not by chance.

Every composed name (a person, a city, a product brand, a set of order numbers)
belongs to exactly one side, chosen by its CRC-32. A held-out row is therefore made
of names that no training row contains, whichever seeds the two sides use.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from random import Random
from typing import Final, Literal

Split = Literal["train", "held_out"]

HELD_OUT_SHARE: Final = 5
"""One name in this many is held out."""


def side_of(name: str) -> Split:
    """Return the side of the split that ``name`` belongs to.

    Args:
        name: Any text that identifies an entity.

    Returns:
        ``"held_out"`` for one name in :data:`HELD_OUT_SHARE`, else ``"train"``.
    """
    # CRC-32 rather than hash(): str hashes change from one interpreter to the next.
    held_out = zlib.crc32(name.encode("utf-8")) % HELD_OUT_SHARE == 0
    return "held_out" if held_out else "train"


def draw(rng: Random, split: Split, make: Callable[[Random], str]) -> str:
    """Draw names until one lies on the wanted side.

    Args:
        rng: Source of randomness.
        split: Wanted side.
        make: Draws one candidate name.

    Returns:
        The first candidate on the side ``split``.

    Raises:
        RuntimeError: If 1000 candidates in a row lie on the other side, which means
            that the pool behind ``make`` has nothing on this side.
    """
    for _ in range(1000):
        name = make(rng)
        if side_of(name) == split:
            return name
    raise RuntimeError(f"no name on the side {split!r} in 1000 draws")
