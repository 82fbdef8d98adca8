"""Reviews: English texts whose stars, mood and topic are known by construction."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

ASPECTS: Final = ("delivery", "quality", "price", "service", "packaging")

_VERDICTS: Final[dict[int, tuple[str, ...]]] = {
    5: (
        "The {p} is perfect.",
        "I love the {p}.",
        "Best buy of the year, this {p}.",
        "The {p} is simply fantastic.",
        "Five stars for the {p}.",
        "The {p} beats everything I had before.",
    ),
    4: (
        "The {p} is good.",
        "I like the {p}.",
        "The {p} does its job well.",
        "Quite happy with the {p}.",
        "A solid choice, the {p}.",
        "The {p} is nice, with small flaws.",
    ),
    3: (
        "The {p} is okay.",
        "The {p} is average.",
        "Not sure what to think of the {p}.",
        "The {p} is neither good nor bad.",
        "Mixed feelings about the {p}.",
        "The {p} is so so.",
    ),
    2: (
        "The {p} is weak.",
        "I expected more from the {p}.",
        "The {p} let me down a bit.",
        "I do not like the {p} much.",
        "Not very happy with the {p}.",
        "The {p} is below average.",
    ),
    1: (
        "The {p} is terrible.",
        "I hate the {p}.",
        "Worst buy ever, this {p}.",
        "The {p} is pure waste.",
        "Never again the {p}.",
        "The {p} is useless.",
    ),
}
_GOOD: Final[dict[str, tuple[str, ...]]] = {
    "delivery": (
        "It arrived a day early.",
        "The courier was quick.",
        "Shipping took one day only.",
        "It was at my door next morning.",
    ),
    "quality": (
        "It is very well made.",
        "It still works like new.",
        "The material feels strong.",
        "Nothing breaks or bends.",
    ),
    "price": (
        "It was a real bargain.",
        "Cheap and worth every cent.",
        "Great value for the money.",
        "I paid less than elsewhere.",
    ),
    "service": (
        "The support team was kind.",
        "My question was answered at once.",
        "The staff helped me on the phone.",
        "The advisor was friendly.",
    ),
    "packaging": (
        "The box was neat and safe.",
        "It was wrapped with care.",
        "The parcel had no dent at all.",
        "Nicely packed in paper.",
    ),
}
_BAD: Final[dict[str, tuple[str, ...]]] = {
    "delivery": (
        "It arrived two weeks late.",
        "The courier lost it first.",
        "Shipping took forever.",
        "I waited a month for it to arrive.",
    ),
    "quality": (
        "It broke after two days.",
        "It fell apart at once.",
        "The material feels flimsy.",
        "It stopped working soon.",
    ),
    "price": (
        "It costs far too much.",
        "Much too expensive for what it is.",
        "I paid twice as much as elsewhere.",
        "Bad value for the money.",
    ),
    "service": (
        "The support team was rude.",
        "Nobody answered my question.",
        "The staff hung up on me.",
        "The advisor knew nothing.",
    ),
    "packaging": (
        "The box was torn open.",
        "It was wrapped without care.",
        "The parcel was crushed.",
        "Packed in far too much plastic.",
    ),
}


@dataclass(frozen=True)
class Review:
    """One review.

    Attributes:
        product: The one product that the text names.
        text: Two English sentences: a verdict, and one about the aspect.
        title: Three to six words.
        stars: 1 to 5, stated by the verdict.
        aspect: What the second sentence is about, one of :data:`ASPECTS`.
        evidence: The sentence about the aspect, as it stands in the text.
    """

    product: str
    text: str
    title: str
    stars: int
    aspect: str
    evidence: str

    @property
    def mood(self) -> str:
        """``"positive"`` for 4 and 5 stars, ``"mixed"`` for 3, else ``"negative"``."""
        return "positive" if self.stars >= 4 else "mixed" if self.stars == 3 else "negative"


_TITLES: Final = (
    "My {noun} after {n} weeks",
    "Bought this {noun} last month",
    "A word about the {noun}",
    "{n} weeks with my {noun}",
    "About my new {noun}",
    "Notes on this {noun}",
    "The {noun} in daily use",
    "What I think of it",
)


def make_review(rng: Random, product: str) -> Review:
    """Draw a review of ``product`` (brand and noun).

    The stars decide whether the sentence about the aspect is good or bad; with three
    stars it may be either. The title says nothing about stars or aspect, so that only
    the text answers a question about them.
    """
    stars = rng.randint(1, 5)
    aspect = rng.choice(ASPECTS)
    good = stars >= 4 or (stars == 3 and rng.random() < 0.5)
    verdict = rng.choice(_VERDICTS[stars]).format(p=product)
    evidence = rng.choice((_GOOD if good else _BAD)[aspect])
    sentences = [verdict, evidence]
    rng.shuffle(sentences)
    noun = product.split(" ")[1].lower()
    title = rng.choice(_TITLES).format(noun=noun, n=rng.randint(2, 9))
    return Review(product, " ".join(sentences), title, stars, aspect, evidence)
