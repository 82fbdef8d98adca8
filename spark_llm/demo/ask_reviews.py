"""Questions about reviews: mood, topic, stars, and the product a text names."""

from __future__ import annotations

import json
from random import Random
from typing import Final

from spark_llm.demo.catalog import product_name
from spark_llm.demo.example import Example, Value
from spark_llm.demo.fields import make_row, text_field
from spark_llm.demo.reviews import ASPECTS, Review, make_review
from spark_llm.demo.splits import Split
from spark_llm.demo.wording import label_list, yes_no

MOODS: Final = ("positive", "negative", "mixed")


def _draw(rng: Random, split: Split) -> tuple[Review, dict[str, Value]]:
    """Draw a review and a row that holds its text (and at times its title)."""
    review = make_review(rng, product_name(rng, split))
    needed: dict[str, Value] = {text_field(rng, "review", "comment", "body"): review.text}
    if rng.random() < 0.25:
        needed["title"] = review.title
    # The row may well hold other product names, but then not under a name that would
    # make "the product" of the question mean that field.
    return review, make_row(rng, split, needed, most=2, avoid=("product", "name", "brand"))


def review_mood_filter(rng: Random, split: Split) -> Example:
    """Ask whether a review is positive, negative or mixed."""
    review, row = _draw(rng, split)
    asked = rng.choice(("positive", "positive", "negative", "negative", "mixed"))
    instruction = rng.choice(
        (
            f"Is this review {asked}?",
            f"Is this review {asked}?",
            f"Is the review {asked}?",
            f"Does the text sound {asked}?",
        )
    )
    if asked == "positive" and rng.random() < 0.3:
        instruction = rng.choice(
            ("Does the customer like the product?", "Is the customer happy with the product?")
        )
    thinking = f"{review.stars} stars: {review.mood}"
    return Example("filter", instruction, row, yes_no(review.mood == asked), thinking)


def review_aspect_filter(rng: Random, split: Split) -> Example:
    """Ask whether a review is about a given topic."""
    review, row = _draw(rng, split)
    others = [aspect for aspect in ASPECTS if aspect != review.aspect]
    asked = review.aspect if rng.random() < 0.5 else rng.choice(others)
    instruction = rng.choice(
        (
            f"Is the review about {asked}?",
            f"Is the review about the {asked}?",
            f"Is this review about {asked}?",
            f"Does the review mention the {asked}?",
        )
    )
    thinking = f"{review.evidence} {review.aspect}"
    return Example("filter", instruction, row, yes_no(review.aspect == asked), thinking)


def review_mood_label(rng: Random, split: Split) -> Example:
    """Ask for the sentiment, one of a list."""
    review, row = _draw(rng, split)
    labels = label_list(rng, MOODS, review.mood)
    instruction = rng.choice(
        (
            f"Choose the sentiment of the review: {labels}.",
            f"What is the sentiment of the review: {labels}?",
            f"Classify the sentiment as one of: {labels}.",
        )
    )
    return Example("labels", instruction, row, review.mood, f"{review.stars} stars: {review.mood}")


def review_aspect_label(rng: Random, split: Split) -> Example:
    """Ask for the topic of a review, one of a list."""
    review, row = _draw(rng, split)
    labels = label_list(rng, ASPECTS, review.aspect)
    instruction = rng.choice(
        (
            f"Choose the topic of the review: {labels}.",
            f"What is the review about: {labels}?",
            f"Classify the review as one of: {labels}.",
        )
    )
    return Example("labels", instruction, row, review.aspect, f"{review.evidence} {review.aspect}")


def review_stars(rng: Random, split: Split) -> Example:
    """Ask for 1 to 5 stars."""
    review, row = _draw(rng, split)
    instruction = rng.choice(
        (
            "Rate the review from 1 to 5.",
            "Rate the review from 1 to 5.",
            "How many stars from 1 to 5 does the review give?",
            "Give the sentiment of the review as a number from 1 to 5.",
        )
    )
    return Example("rate", instruction, row, str(review.stars), review.mood)


def review_product(rng: Random, split: Split) -> Example:
    """Ask for the product that a review names."""
    review, row = _draw(rng, split)
    instruction = rng.choice(
        (
            "Which product is named in the review?",
            "Which product is named in the review?",
            "Which product is the review about?",
            "Name the product of the review.",
        )
    )
    return Example("extract", instruction, row, review.product, f"the {review.product}")


def review_json(rng: Random, split: Split) -> Example:
    """Ask for two facts about a review as a JSON object."""
    review, row = _draw(rng, split)
    facts: dict[str, Value] = {
        "sentiment": review.mood,
        "stars": review.stars,
        "topic": review.aspect,
        "product": review.product,
    }
    first, second = rng.sample(list(facts), 2)
    if rng.random() < 0.4:
        first, second = "sentiment", "stars"
    answer = json.dumps({first: facts[first], second: facts[second]})
    instruction = rng.choice(
        (
            f"Give {first} and {second} as JSON.",
            f"Give {first} and {second} as JSON.",
            f"Return {first} and {second} of the review as JSON.",
        )
    )
    return Example("json", instruction, row, answer, f"{review.evidence} {review.aspect}")
