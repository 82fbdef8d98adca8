"""Support tickets: English texts whose topic, urgency and names are known."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

TOPICS: Final = ("billing", "delivery", "defect", "account", "return")

_PROBLEMS: Final[dict[str, tuple[str, ...]]] = {
    "billing": (
        "I was charged twice for {what}.",
        "The invoice for {what} is wrong.",
        "You took {amount} euros too much for {what}.",
        "My card was billed {amount} euros for {what}.",
        "The bill for {what} says {amount} euros.",
    ),
    "delivery": (
        "{what} never arrived.",
        "The courier did not bring {what}.",
        "{what} went to the wrong address.",
        "The parcel with {what} is lost.",
        "Where is my parcel with {what}?",
    ),
    "defect": (
        "{what} does not switch on.",
        "{what} broke on the first day.",
        "There is a crack in {what}.",
        "{what} makes a strange noise.",
        "A part of {what} is missing.",
    ),
    "account": (
        "I cannot log in to see {what}.",
        "My password fails when I look up {what}.",
        "Please change my email for {what}.",
        "My profile does not show {what}.",
        "The login page hides {what}.",
    ),
    "return": (
        "I want to send back {what}.",
        "How do I return {what}?",
        "Please take back {what}.",
        "I changed my mind about {what}.",
        "I need a return label for {what}.",
    ),
}
_URGENT: Final = (
    "This is urgent.",
    "Please answer today.",
    "I need help right now.",
    "It cannot wait.",
    "Please hurry.",
)
_CALM: Final = (
    "There is no hurry.",
    "Take your time.",
    "Any day is fine.",
    "Thank you in advance.",
    "Have a nice day.",
)


@dataclass(frozen=True)
class Ticket:
    """One support ticket.

    Attributes:
        text: English text that names everything below.
        topic: One of :data:`TOPICS`.
        urgent: Whether the text asks for haste.
        order: The order number that the text names, 5 digits.
        customer: Who signed it.
        products: The one or two products named, in the order of the text.
        amount: Whole euros named in the text; ``None`` where none are.
        problem: The sentence that gives the topic, as it stands in the text.
        tone: The sentence that gives the urgency, as it stands in the text.
    """

    text: str
    topic: str
    urgent: bool
    order: int
    customer: str
    products: tuple[str, ...]
    amount: int | None
    problem: str
    tone: str


def make_ticket(rng: Random, order: int, customer: str, products: tuple[str, ...]) -> Ticket:
    """Draw a ticket.

    Args:
        rng: Source of randomness.
        order: Order number to name.
        customer: Name to sign with.
        products: One or two products to name.

    Returns:
        A ticket of three sentences and a signature.
    """
    topic = rng.choice(TOPICS)
    urgent = rng.random() < 0.5
    template = rng.choice(_PROBLEMS[topic])
    amount = rng.randint(11, 199) if "{amount}" in template else None
    what = "the " + " and the ".join(products)
    problem = template.format(what=what, amount=amount)
    problem = problem[0].upper() + problem[1:]
    tone = rng.choice(_URGENT if urgent else _CALM)
    number = rng.choice(("Order {}.", "Order number {}.", "My order is {}.", "It is order {}.")).format(order)
    sentences = [number, problem, tone]
    if rng.random() < 0.5:
        # The order number comes first or second; the tone may come anywhere.
        sentences = [problem, number, tone] if rng.random() < 0.5 else [tone, problem, number]
    sign = rng.choice(("{}", "Regards, {}", "Yours, {}", "Thanks, {}")).format(customer)
    text = " ".join([*sentences, sign])
    return Ticket(text, topic, urgent, order, customer, products, amount, problem, tone)
