"""Questions about products and orders: prices, categories, materials, sums, matches."""

from __future__ import annotations

from random import Random

from spark_llm.demo import names
from spark_llm.demo.catalog import (
    CATEGORIES,
    COLORS,
    MATERIALS,
    MAX_PRICE,
    MIN_PRICE,
    Product,
    make_product,
    product_name,
)
from spark_llm.demo.example import Example, Value
from spark_llm.demo.fields import make_row, text_field
from spark_llm.demo.orders import make_sum
from spark_llm.demo.reviews import make_review
from spark_llm.demo.splits import Split
from spark_llm.demo.wording import label_list, yes_no


def _draw(rng: Random, split: Split, *columns: str) -> tuple[Product, dict[str, Value]]:
    """Draw a product and a row that holds the named columns of it, and perhaps more."""
    product = make_product(rng, split)
    name = rng.choice(("name", "name", "product"))
    every: dict[str, Value] = {
        name: product.name,
        "description": product.description,
        "price": product.price,
    }
    needed = {
        key: value
        for key, value in every.items()
        if key in columns or (key == name and "name" in columns) or rng.random() < 0.3
    }
    avoid = ("category", "color", "material", "product", "name", "price")
    return product, make_row(rng, split, needed, most=2, avoid=avoid)


def price_filter(rng: Random, split: Split) -> Example:
    """Ask whether a price lies below or above a bound."""
    product, row = _draw(rng, split, "price")
    near = product.price + rng.randint(-3, 3)
    bound = near if rng.random() < 0.5 else rng.randint(MIN_PRICE, MAX_PRICE + 1)
    bound = max(bound, 1)
    if rng.random() < 0.5:
        wording = ("Is the product cheaper than {}?", "Is the price below {}?")
        truth, sign = product.price < bound, "<"
    else:
        wording = ("Does the product cost more than {}?", "Is the price above {}?")
        truth, sign = product.price > bound, ">"
    answer = yes_no(truth)
    thinking = f"{product.price}{sign}{bound} {answer}"
    return Example("filter", rng.choice(wording).format(bound), row, answer, thinking)


def made_of_filter(rng: Random, split: Split) -> Example:
    """Ask whether a product has a given material or color."""
    product, row = _draw(rng, split, "description")
    if rng.random() < 0.5:
        asked = product.material if rng.random() < 0.5 else rng.choice(MATERIALS)
        wording = ("Is the product made of {}?", "Is it made of {}?")
        truth, thinking = asked == product.material, product.material
    else:
        asked = product.color if rng.random() < 0.5 else rng.choice(COLORS)
        wording = ("Is the product {}?", "Is the color {}?")
        truth, thinking = asked == product.color, product.color
    return Example("filter", rng.choice(wording).format(asked), row, yes_no(truth), thinking)


def category_label(rng: Random, split: Split) -> Example:
    """Ask for the category of a product, which only its noun tells."""
    product, row = _draw(rng, split, rng.choice(("name", "description")), "name")
    labels = label_list(rng, CATEGORIES, product.category)
    instruction = rng.choice(
        (
            f"Choose the category of the product: {labels}.",
            f"What is the category of the product: {labels}?",
            f"Classify the product as one of: {labels}.",
        )
    )
    return Example("labels", instruction, row, product.category, product.name)


def described(rng: Random, split: Split) -> Example:
    """Ask for the color or the material that a description states."""
    product, row = _draw(rng, split, "description")
    if rng.random() < 0.5:
        instruction = rng.choice(("Which color is the product?", "What color is it?"))
        answer = product.color
    else:
        instruction = rng.choice(("Which material is the product made of?", "What is it made of?"))
        answer = product.material
    return Example("extract", instruction, row, answer, f"{product.color} {product.material}")


def match_filter(rng: Random, split: Split) -> Example:
    """Ask whether a review names the product of another field (a semantic join)."""
    right = product_name(rng, split)
    other = product_name(rng, split)
    if rng.random() < 0.3:
        # A near miss: the same noun from another brand.
        other = f"{names.brand(rng, split)} {right.split(' ')[1]}"
    shown = right if rng.random() < 0.5 else other
    column = rng.choice(("name", "name", "product"))
    needed: dict[str, Value] = {
        text_field(rng, "review", "comment"): make_review(rng, right).text,
        column: shown,
    }
    row = make_row(rng, split, needed, most=1, avoid=("product", "name", "brand"))
    instruction = rng.choice(("Is the review about this product?", "Does the review name this product?"))
    return Example("match", instruction, row, yes_no(shown == right), f"{right}, {shown}")


def arithmetic(rng: Random, split: Split) -> Example:
    """Ask for the total of an order or for the pieces of a product in stock."""
    drawn = make_sum(rng, split)
    if rng.random() < 0.6:
        keys = ("quantity", "price", "shipping", "discount")
        wording = (
            "What is the total of the order?",
            "Compute quantity * price + shipping - discount.",
        )
    else:
        keys = ("boxes", "per_box", "loose", "broken")
        wording = (
            "How many pieces are in stock?",
            "Compute boxes * per_box + loose - broken.",
        )
    values = (drawn.a, drawn.b, drawn.c, drawn.d)
    needed: dict[str, Value] = dict(zip(keys, values, strict=True))
    row = make_row(rng, split, needed, most=2, avoid=("stock",))
    return Example("arithmetic", rng.choice(wording), row, str(drawn.total), drawn.steps)
