"""Questions that any row answers: give a field, copy a text, shorten a text."""

from __future__ import annotations

import json
from random import Random

from spark_llm.demo.catalog import make_product, product_name
from spark_llm.demo.example import Example, Value
from spark_llm.demo.fields import FIELD_NAMES, make_row, make_value, text_field
from spark_llm.demo.reviews import make_review
from spark_llm.demo.splits import Split

_COUNTS = {2: "two", 3: "three", 4: "four", 5: "five"}
_WORDS = tuple("hello ready yes no good done start stop blue green fine one two three shop order".split())


def _fields(rng: Random, split: Split, low: int) -> dict[str, Value]:
    """Draw a row of ``low`` to six fields."""
    chosen = rng.sample(FIELD_NAMES, rng.randint(low, 6))
    return {name: make_value(rng, split, name) for name in chosen}


def _spoken(rng: Random, name: str) -> str:
    """Write a field name as it stands, or with spaces as one would say it."""
    return name.replace("_", " ") if rng.random() < 0.5 else name


def field_value(rng: Random, split: Split) -> Example:
    """Ask for the value of one field."""
    row = _fields(rng, split, 1)
    asked = rng.choice(list(row))
    if rng.random() < 0.25:
        # A long text somewhere in the row must not distract from the field.
        review = make_review(rng, product_name(rng, split))
        row[text_field(rng, "review", "comment")] = review.text
        items = list(row.items())
        rng.shuffle(items)
        row = dict(items)
    spoken = _spoken(rng, asked)
    instruction = rng.choice(
        (
            f"What is the {spoken}?",
            f"What is the {spoken}?",
            f"Give the {spoken}.",
            f"Return the {spoken}.",
        )
    )
    answer = str(row[asked])
    return Example("extract", instruction, row, answer, f"{asked}: {answer}")


def field_json(rng: Random, split: Split) -> Example:
    """Ask for two fields as a JSON object."""
    row = _fields(rng, split, 2)
    first, second = rng.sample(list(row), 2)
    instruction = rng.choice((f"Give {first} and {second} as JSON.", f"Return {first} and {second} as JSON."))
    answer = json.dumps({first: row[first], second: row[second]})
    return Example("json", instruction, row, answer, f"{first}, {second}")


def _text_row(rng: Random, split: Split) -> tuple[str, str, dict[str, Value]]:
    """Draw a row with up to three texts; return the name and value of one of them."""
    review = make_review(rng, product_name(rng, split))
    product = make_product(rng, split)
    texts: dict[str, Value] = {
        "title": review.title,
        text_field(rng, "review", "comment"): review.text,
        "description": product.description,
    }
    name = rng.choice(list(texts))
    needed = {key: text for key, text in texts.items() if key == name or rng.random() < 0.3}
    return name, str(texts[name]), make_row(rng, split, needed, most=2)


def copy_text(rng: Random, split: Split) -> Example:
    """Ask for a text field, word for word."""
    name, text, row = _text_row(rng, split)
    if name != "title" and rng.random() < 0.6:
        review = make_review(rng, product_name(rng, split))
        name, text = "title", review.title
        row = make_row(rng, split, {**row, "title": text}, most=0)
    instruction = rng.choice((f"Copy the {name}.", f"Copy the {name}.", f"Repeat the {name}."))
    return Example("copy", instruction, row, text, name)


def first_words(rng: Random, split: Split) -> Example:
    """Ask for the first words of a text."""
    name, text, row = _text_row(rng, split)
    count = rng.choice((2, 3, 4, 4, 5))
    instruction = rng.choice(
        (
            f"Give the first {_COUNTS[count]} words of the {name}.",
            f"Shorten the {name} to its first {_COUNTS[count]} words.",
        )
    )
    answer = " ".join(text.split(" ")[:count])
    return Example("shorten", instruction, row, answer, f"{count} words")


def say(rng: Random, _split: Split) -> Example:
    """Ask for a word, with no row at all (``LLM('Say hello.')``)."""
    word = rng.choice(_WORDS)
    return Example("say", f"Say {word}.", {}, word, word)
