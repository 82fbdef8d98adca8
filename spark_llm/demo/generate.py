"""The seeded stream of examples that the demo model is trained and tested on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from random import Random
from typing import Final

from spark_llm.demo import ask_fields, ask_products, ask_reviews, ask_tickets
from spark_llm.demo.example import Example
from spark_llm.demo.splits import Split, side_of
from spark_llm.prompts import SYSTEM_PROMPT

__all__ = ["KINDS", "SYSTEM_PROMPT", "Kind", "draw_example", "examples", "held_out"]


SWITCHES: Final = (84_000, 114_000, 132_000)
"""Numbers of examples after which the mixture changes."""


@dataclass(frozen=True)
class Kind:
    """One way to ask, and how often training does so.

    Attributes:
        make: Draws an example.
        weights: Share among the kinds, in parts, before and after each of
            :data:`SWITCHES`: looking a value up is learned early, then comparing and
            computing get more room.
        thinking: Probability that a training example is shown with thinking on.
    """

    make: Callable[[Random, Split], Example]
    weights: tuple[float, float, float, float]
    thinking: float = 0.1


KINDS: Final[tuple[Kind, ...]] = (
    Kind(ask_fields.field_value, (14, 12, 15, 12)),
    Kind(ask_fields.field_json, (4, 4, 6, 6)),
    Kind(ask_fields.copy_text, (4, 3, 4, 4)),
    Kind(ask_fields.first_words, (5, 5, 6, 6)),
    Kind(ask_fields.say, (0.5, 0.5, 0.5, 2), 0.0),
    Kind(ask_reviews.review_mood_filter, (6, 9, 4, 4)),
    Kind(ask_reviews.review_aspect_filter, (6, 9, 14, 6)),
    Kind(ask_reviews.review_mood_label, (4, 2, 1.5, 1.5)),
    Kind(ask_reviews.review_aspect_label, (5, 3, 2.5, 2)),
    Kind(ask_reviews.review_stars, (5, 2, 1.5, 2)),
    Kind(ask_reviews.review_product, (6, 3, 3, 3)),
    Kind(ask_reviews.review_json, (4, 2, 1.5, 2)),
    Kind(ask_tickets.ticket_urgent_filter, (4, 2, 2, 2)),
    Kind(ask_tickets.ticket_topic_filter, (5, 9, 9, 4)),
    Kind(ask_tickets.ticket_topic_label, (5, 3, 2, 2)),
    Kind(ask_tickets.ticket_order, (6, 2, 2, 4)),
    Kind(ask_tickets.ticket_customer, (5, 4, 4, 4)),
    Kind(ask_tickets.ticket_amount, (4, 2, 1.5, 2)),
    Kind(ask_tickets.ticket_list, (5, 5, 6, 8)),
    Kind(ask_tickets.ticket_json, (4, 2, 2, 3)),
    Kind(ask_products.price_filter, (7, 12, 16, 40)),
    Kind(ask_products.made_of_filter, (5, 9, 15, 40)),
    Kind(ask_products.category_label, (4, 9, 2.5, 2)),
    Kind(ask_products.described, (4, 4, 2, 2)),
    Kind(ask_products.match_filter, (6, 10, 15, 35)),
    # Few direct sums on purpose: the demo shows that thinking is what solves them.
    Kind(ask_products.arithmetic, (14, 22, 24, 25), 0.93),
)


def draw_example(rng: Random, split: Split, kind: Kind) -> Example:
    """Draw an example whose prompt belongs to ``split``.

    The names in a row are already split; the prompt itself is split as well, because a
    short row (``{"price": 7}``) may hold no name at all.

    Args:
        rng: Source of randomness.
        split: Wanted side.
        kind: How to ask.

    Returns:
        An example without thinking (``think`` false). The one task without a row,
        ``say``, is not split: it belongs to training on both sides.
    """
    while True:
        example = kind.make(rng, split)
        if not example.row or side_of(example.user) == split:
            return example


def examples(seed: int) -> Iterator[Example]:
    """Yield the endless stream of training examples.

    Args:
        seed: The stream is a function of the seed and of nothing else.

    Yields:
        Examples of all kinds, mixed by weight, with thinking on at each kind's rate.
    """
    rng = Random(seed)
    mixtures = list(zip(*(kind.weights for kind in KINDS), strict=True))
    for drawn in count():
        stage = sum(drawn >= switch for switch in SWITCHES)
        kind = rng.choices(KINDS, mixtures[stage])[0]
        example = draw_example(rng, "train", kind)
        yield replace(example, think=rng.random() < kind.thinking)


def held_out(seed: int, rows: int) -> dict[str, list[Example]]:
    """Draw the held-out examples of every task.

    Args:
        seed: Seed of the test set; names and prompts differ from training for any seed.
        rows: Examples per task.

    Returns:
        Task name to ``rows`` examples with distinct prompts, thinking off. The kinds of
        a task appear in turn, so each has the same share.
    """
    rng = Random(seed)
    found: dict[str, list[Example]] = {}
    seen: set[str] = set()
    makers: dict[str, list[Kind]] = {}
    for kind in KINDS:
        if kind.make is not ask_fields.say:
            makers.setdefault(kind.make(rng, "held_out").task, []).append(kind)
    for task, kinds in makers.items():
        chosen: list[Example] = []
        while len(chosen) < rows:
            example = draw_example(rng, "held_out", kinds[len(chosen) % len(kinds)])
            if example.user not in seen:
                seen.add(example.user)
                chosen.append(example)
        found[task] = chosen
    return found
