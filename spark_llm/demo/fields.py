"""Row fields: the names and values that surround what a question is about.

Every row is what the question needs plus irrelevant fields, in random order: neither
the position of a field nor the number of fields ever gives the answer away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Final

from spark_llm.demo import names
from spark_llm.demo.catalog import CATEGORIES, COLORS, MATERIALS, product_name
from spark_llm.demo.example import Value
from spark_llm.demo.splits import Split

_Maker = Callable[[Random, Split], Value]


def _one_of(*values: str) -> _Maker:
    return lambda rng, _split: rng.choice(values)


def _integer(low: int, high: int) -> _Maker:
    return lambda rng, _split: rng.randint(low, high)


def _code(rng: Random, split: Split) -> str:
    letters = rng.choice("ABCDEFGHKLMNPRST") + rng.choice("ABCDEFGHKLMNPRST")
    return f"{letters}-{names.number(rng, split, 4)}"


def _date(rng: Random, _split: Split) -> str:
    return f"20{rng.randint(20, 26)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"


FIELDS: Final[dict[str, _Maker]] = {
    "id": _integer(1, 9999),
    "product_id": _integer(1, 999),
    "customer": names.person,
    "city": names.city,
    "product": product_name,
    "channel": _one_of("email", "phone", "chat", "shop"),
    "quantity": _integer(2, 9),
    "price": _integer(2, 19),
    "shipping": _integer(1, 9),
    "discount": _integer(1, 9),
    "order_id": lambda rng, split: names.number(rng, split, 5),
    "category": _one_of(*CATEGORIES),
    "color": _one_of(*COLORS),
    "material": _one_of(*MATERIALS),
    "brand": names.brand,
    "seller": names.person,
    "agent": names.person,
    "author": names.person,
    "shop": names.city,
    "warehouse": names.city,
    "sku": _code,
    "code": _code,
    "date": _date,
    "status": _one_of("new", "open", "paid", "sent", "closed"),
    "size": _one_of("small", "medium", "large"),
    "language": _one_of("English", "German", "French", "Dutch", "Spanish"),
    "phone": lambda rng, split: f"0{names.number(rng, split, 6)}",
    "weight": _integer(1, 999),
    "stock": _integer(0, 500),
    "year": _integer(1990, 2026),
    "age": _integer(18, 90),
    "name": product_name,
    "user": names.person,
    "town": names.city,
    "boxes": _integer(2, 9),
    "per_box": _integer(2, 19),
    "loose": _integer(1, 9),
    "broken": _integer(1, 9),
}
FIELD_NAMES: Final = tuple(FIELDS)


def make_value(rng: Random, split: Split, name: str) -> Value:
    """Draw a value for the field ``name``, one of :data:`FIELD_NAMES`."""
    return FIELDS[name](rng, split)


def make_row(
    rng: Random,
    split: Split,
    needed: Mapping[str, Value],
    most: int = 3,
    avoid: tuple[str, ...] = (),
) -> dict[str, Value]:
    """Put the fields a question needs among irrelevant ones, in random order.

    Args:
        rng: Source of randomness.
        split: Side that composed values of the irrelevant fields belong to.
        needed: Fields the question is about.
        most: Upper bound on the number of irrelevant fields.
        avoid: Fields that would make the answer ambiguous.

    Returns:
        The fields of the row, in prompt order.
    """
    row = dict(needed)
    for name in rng.sample(FIELD_NAMES, rng.randint(0, most)):
        if name not in row and name not in avoid:
            row[name] = make_value(rng, split, name)
    items = list(row.items())
    rng.shuffle(items)
    return dict(items)


def text_field(rng: Random, *others: str) -> str:
    """Name the column that holds a text: mostly ``text``, as in the shop's tables."""
    return "text" if rng.random() < 0.6 else rng.choice(others)
