"""Questions about support tickets: topic, urgency, and what a text names."""

from __future__ import annotations

import json
from random import Random

from spark_llm.demo import names
from spark_llm.demo.catalog import product_name
from spark_llm.demo.example import Example, Value
from spark_llm.demo.fields import make_row, text_field
from spark_llm.demo.splits import Split
from spark_llm.demo.tickets import TOPICS, Ticket, make_ticket
from spark_llm.demo.wording import label_list, yes_no


def _draw(rng: Random, split: Split) -> tuple[Ticket, dict[str, Value]]:
    """Draw a ticket and a row that holds its text."""
    products = [product_name(rng, split)]
    if rng.random() < 0.35:
        other = product_name(rng, split)
        if other not in products:
            products.append(other)
    order = names.number(rng, split, 5)
    ticket = make_ticket(rng, order, names.person(rng, split), tuple(products))
    column = text_field(rng, "ticket", "message", "body")
    avoid = ("product", "name", "customer", "order_id", "user", "brand", "author")
    return ticket, make_row(rng, split, {column: ticket.text}, most=2, avoid=avoid)


def ticket_urgent_filter(rng: Random, split: Split) -> Example:
    """Ask whether a ticket is urgent."""
    ticket, row = _draw(rng, split)
    instruction = rng.choice(
        (
            "Is the ticket urgent?",
            "Is the ticket urgent?",
            "Is this ticket urgent?",
            "Does the customer need a quick answer?",
        )
    )
    return Example("filter", instruction, row, yes_no(ticket.urgent), ticket.tone)


def ticket_topic_filter(rng: Random, split: Split) -> Example:
    """Ask whether a ticket is about a given topic."""
    ticket, row = _draw(rng, split)
    others = [topic for topic in TOPICS if topic != ticket.topic]
    asked = ticket.topic if rng.random() < 0.5 else rng.choice(others)
    instruction = rng.choice(
        (
            f"Is the ticket about {asked}?",
            f"Is the ticket about {asked}?",
            f"Is this ticket about {asked}?",
            f"Is {asked} the topic of the ticket?",
        )
    )
    return Example("filter", instruction, row, yes_no(ticket.topic == asked), ticket.topic)


def ticket_topic_label(rng: Random, split: Split) -> Example:
    """Ask for the topic of a ticket, one of a list."""
    ticket, row = _draw(rng, split)
    labels = label_list(rng, TOPICS, ticket.topic)
    instruction = rng.choice(
        (
            f"Choose the topic of the ticket: {labels}.",
            f"Choose the topic of the ticket: {labels}.",
            f"What is the topic of the ticket: {labels}?",
            f"Classify the ticket as one of: {labels}.",
        )
    )
    return Example("labels", instruction, row, ticket.topic, ticket.topic)


def ticket_order(rng: Random, split: Split) -> Example:
    """Ask for the order number that a ticket names."""
    ticket, row = _draw(rng, split)
    instruction = rng.choice(
        (
            "Which order number is named in the ticket?",
            "Which order number is named in the ticket?",
            "What is the order number in the ticket?",
            "Give the order number of the ticket.",
        )
    )
    return Example("extract", instruction, row, str(ticket.order), f"order {ticket.order}")


def ticket_customer(rng: Random, split: Split) -> Example:
    """Ask who wrote a ticket."""
    ticket, row = _draw(rng, split)
    instruction = rng.choice(
        (
            "Who wrote the ticket?",
            "Who wrote the ticket?",
            "Which person is named in the ticket?",
            "Who signed the ticket?",
        )
    )
    return Example("extract", instruction, row, ticket.customer, f"signed {ticket.customer}")


def ticket_amount(rng: Random, split: Split) -> Example:
    """Ask for the amount of money a ticket names, ``none`` where it names none."""
    ticket, row = _draw(rng, split)
    while ticket.amount is None and rng.random() < 0.85:
        ticket, row = _draw(rng, split)
    instruction = rng.choice(
        (
            "Which amount is named in the ticket?",
            "Which amount is named in the ticket?",
            "How many euros are named in the ticket?",
        )
    )
    answer = "none" if ticket.amount is None else str(ticket.amount)
    return Example("extract", instruction, row, answer, f"{answer} euros")


def ticket_list(rng: Random, split: Split) -> Example:
    """Ask for all products of a ticket as a JSON array."""
    ticket, row = _draw(rng, split)
    where = rng.choice(("ticket", "ticket", "text"))
    instruction = f"List the products named in the {where} as a JSON array."
    answer = json.dumps(list(ticket.products))
    return Example("list", instruction, row, answer, f"{len(ticket.products)} products")


def ticket_json(rng: Random, split: Split) -> Example:
    """Ask for two facts about a ticket as a JSON object."""
    ticket, row = _draw(rng, split)
    facts: dict[str, Value] = {
        "topic": ticket.topic,
        "urgent": ticket.urgent,
        "order": ticket.order,
        "customer": ticket.customer,
    }
    first, second = rng.sample(list(facts), 2)
    if rng.random() < 0.5:
        first, second = "topic", "urgent"
    answer = json.dumps({first: facts[first], second: facts[second]})
    instruction = rng.choice(
        (
            f"Give {first} and {second} as JSON.",
            f"Give {first} and {second} as JSON.",
            f"Return {first} and {second} of the ticket as JSON.",
        )
    )
    return Example("json", instruction, row, answer, f"{ticket.topic}. {ticket.tone}")
