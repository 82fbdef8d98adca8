"""The demo shop: its rows, and the truth about them that no column gives away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final, TypeVar

from spark_llm.demo import names
from spark_llm.demo.catalog import Product, make_product
from spark_llm.demo.orders import Sum, make_sum
from spark_llm.demo.reviews import Review, make_review
from spark_llm.demo.splits import Split
from spark_llm.demo.tickets import Ticket, make_ticket

# The shop consists of names the model never saw in training.
_SPLIT: Final[Split] = "held_out"
_T = TypeVar("_T")
_CHANNELS: Final = ("email", "phone", "chat")
ROWS_PER_PRODUCT: Final = 20


@dataclass(frozen=True)
class Order:
    """One order.

    Attributes:
        number: Unique, 5 digits.
        product: Index into :attr:`Shop.products`.
        customer: Full name.
        city: Where it goes.
        operands: Quantity, price, shipping and discount.
    """

    number: int
    product: int
    customer: str
    city: str
    operands: Sum


@dataclass(frozen=True)
class Shop:
    """All rows of the shop; ids are positions counted from 1.

    Attributes:
        products: Distinct names.
        stock: Boxes, pieces per box, loose and broken pieces of each product.
        reviews: Pairs of an index into ``products`` and a review of that product.
        reviewers: Customer and city of each review.
        orders: Orders of one product each.
        tickets: Each names the number, customer and product of an order, and perhaps
            one more product.
        ticket_origin: City and channel of each ticket.
    """

    products: list[Product]
    stock: list[Sum]
    reviews: list[tuple[int, Review]]
    reviewers: list[tuple[str, str]]
    orders: list[Order]
    tickets: list[Ticket]
    ticket_origin: list[tuple[str, str]]


def _distinct(rows: int, draw: Callable[[], _T], key: Callable[[_T], object]) -> list[_T]:
    """Draw until there are ``rows`` values with distinct keys."""
    found: dict[object, _T] = {}
    while len(found) < rows:
        value = draw()
        found.setdefault(key(value), value)
    return list(found.values())


def make_shop(seed: int, rows: int) -> Shop:
    """Generate the shop.

    Args:
        seed: The shop is a function of ``seed`` and ``rows`` alone.
        rows: Number of reviews, of tickets and of orders, 1 to 5000; there is one
            product for :data:`ROWS_PER_PRODUCT` of them, at least 5 and at most 250.

    Returns:
        The rows of all tables with everything that is true about them.

    Raises:
        ValueError: If ``rows`` is out of range.
    """
    if not 1 <= rows <= 5000:
        raise ValueError(f"rows must lie between 1 and 5000, not {rows}")
    rng = Random(f"shop {seed} {rows}")
    count = min(250, max(5, rows // ROWS_PER_PRODUCT))
    products = _distinct(count, lambda: make_product(rng, _SPLIT), lambda p: p.name)
    stock = [make_sum(rng, _SPLIT) for _ in products]
    reviews: list[tuple[int, Review]] = []
    reviewers: list[tuple[str, str]] = []
    for _ in range(rows):
        index = rng.randrange(count)
        reviews.append((index, make_review(rng, products[index].name)))
        reviewers.append((names.person(rng, _SPLIT), names.city(rng, _SPLIT)))
    numbers = _distinct(rows, lambda: names.number(rng, _SPLIT, 5), lambda n: n)
    orders: list[Order] = []
    for number in numbers:
        index = rng.randrange(count)
        operands = make_sum(rng, _SPLIT, b=products[index].price)
        customer, city = names.person(rng, _SPLIT), names.city(rng, _SPLIT)
        orders.append(Order(number, index, customer, city, operands))
    tickets: list[Ticket] = []
    origin: list[tuple[str, str]] = []
    for _ in range(rows):
        order = rng.choice(orders)
        named = [products[order.product].name]
        other = rng.choice(products).name
        if rng.random() < 0.35 and other not in named:
            named.append(other)
        tickets.append(make_ticket(rng, order.number, order.customer, tuple(named)))
        origin.append((order.city, rng.choice(_CHANNELS)))
    return Shop(products, stock, reviews, reviewers, orders, tickets, origin)
