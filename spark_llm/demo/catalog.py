"""Products: what there is to buy, in which category, and how it is described."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

from spark_llm.demo.names import brand
from spark_llm.demo.splits import Split

NOUNS: Final[dict[str, tuple[str, ...]]] = {
    "kitchen": tuple("Kettle Pan Mug Toaster Blender Bowl Teapot Grater Whisk Ladle".split()),
    "garden": tuple("Rake Shovel Hose Planter Sprinkler Spade Trowel Lantern Hedger Cart".split()),
    "office": tuple("Stapler Notebook Lamp Chair Desk Pen Binder Keyboard Monitor Folder".split()),
    "toys": tuple("Puzzle Robot Doll Kite Train Blocks Drum Puppet Scooter Yoyo".split()),
    "sport": tuple("Racket Ball Helmet Skates Bike Rope Tent Paddle Gloves Dumbbell".split()),
}
CATEGORIES: Final = tuple(NOUNS)
CATEGORY_OF: Final = {noun: name for name, nouns in NOUNS.items() for noun in nouns}

MATERIALS: Final = ("wood", "steel", "glass", "plastic", "cotton", "rubber")
COLORS: Final = ("red", "blue", "green", "black", "white", "grey", "yellow", "brown")

_PURPOSES: Final = (
    "It is made for daily use.",
    "It fits into every home.",
    "A good present for friends.",
    "It lasts for many years.",
    "It is easy to clean.",
    "It comes with a two year warranty.",
    "It weighs very little.",
    "It needs no tools to set up.",
)
_DESCRIPTIONS: Final = (
    "The {name} is a {color} {noun} made of {material}.",
    "A {color} {noun} of {material} from {brand}.",
    "{brand} makes this {color} {noun} from {material}.",
    "This {noun} is made of {material} and comes in {color}.",
)

MIN_PRICE: Final = 2
MAX_PRICE: Final = 19


@dataclass(frozen=True)
class Product:
    """One product of the shop.

    Attributes:
        name: Brand and noun, ``"Toria Kettle"``.
        category: One of :data:`CATEGORIES`.
        material: One of :data:`MATERIALS`; stated in the description only.
        color: One of :data:`COLORS`; stated in the description only.
        price: Whole euros, :data:`MIN_PRICE` to :data:`MAX_PRICE`.
        description: One or two English sentences.
    """

    name: str
    category: str
    material: str
    color: str
    price: int
    description: str


def product_name(rng: Random, split: Split) -> str:
    """Draw the name of a product, ``"Toria Kettle"``: its brand decides the split."""
    noun = rng.choice(NOUNS[rng.choice(CATEGORIES)])
    return f"{brand(rng, split)} {noun}"


def make_product(rng: Random, split: Split) -> Product:
    """Draw one product.

    Args:
        rng: Source of randomness.
        split: Side of the split that the brand belongs to.

    Returns:
        A product whose description states its material and its color, and whose
        category follows from its noun alone.
    """
    name = product_name(rng, split)
    maker, noun = name.split(" ")
    material, color = rng.choice(MATERIALS), rng.choice(COLORS)
    description = rng.choice(_DESCRIPTIONS).format(
        name=name, brand=maker, noun=noun.lower(), material=material, color=color
    )
    if rng.random() < 0.6:
        description += " " + rng.choice(_PURPOSES)
    price = rng.randint(MIN_PRICE, MAX_PRICE)
    return Product(name, CATEGORY_OF[noun], material, color, price, description)
