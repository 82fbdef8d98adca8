"""Names of people, cities and brands, composed so that the pools are large.

Extraction has to be copying: with thousands of composed names a small model cannot
learn the names by heart, so it must learn to look them up in the row.
"""

from __future__ import annotations

from random import Random
from typing import Final

from spark_llm.demo.splits import Split, draw

FIRST_NAMES: Final[tuple[str, ...]] = tuple(
    (
        "Ada Alan Alma Amir Ana Andre Anja Anton Aria Arno Asha Aziz Bea Ben Berta Boris "
        "Bruno Carla Carlos Cem Chiara Clara Colin Cora Dana Daniel Daria David Dina Edda "
        "Elif Elena Emil Emma Enzo Erik Eva Farid Felix Fiona Frank Gabi Georg Gina Greta "
        "Hana Hans Harry Heidi Hugo Ida Igor Ina Ines Ivan Jana Jan Jonas Julia Kai Karim "
        "Karl Kim Klara Lara Laura Lea Leon Lena Lina Linus Luca Lucy Luis Luna Magda Maja "
        "Malik Mara Marco Maria Mark Marta Max Mia Mila Milo Mina Mona Nadia Nils Nina "
        "Noah Nora Olga Omar Oscar Otto Pablo Paul Paula Pia Rafael Ralf Rita Robin Rosa "
        "Ruth Sam Samir Sara Selma Silas Simon Sofia Sonja Sven Tara Tessa Theo Tim Tina "
        "Tom Uwe Vera Viktor Wanda Yara Yusuf Zara Zoe"
    ).split()
)

_FAMILY_STARTS: Final = tuple(
    (
        "Ack Alder Ander Bald Barn Beck Berg Bishop Brand Brook Carl Clay Copper Dahl Dal "
        "Doyle Dray Ever Fair Falk Farr Fen Fitz Ford Gard Gray Grim Hale Hart Hill Holm "
        "Horn Jarr Keller Kirk Lang Lind Lock Marl Mill Moor Nor Oak Palm Penn Quin Rand "
        "Reed Rom Rud Sand Shel Stern Stone Sund Thorn Tull Var Wald West Win Wolf Yar"
    ).split()
)
_FAMILY_ENDS: Final = tuple(
    (
        "by dale den ell er ert es feld field gan ham hart ings ison kin la ler ley lin "
        "man mann more ner ness ov row sen ski son stad ston ton ward well wood worth"
    ).split()
)
_CITY_STARTS: Final = tuple(
    (
        "Alt Ash Bad Bar Bel Birch Black Bren Bright Cal Castle Clear Cran Dor Drum East "
        "Elm Esk Fal Fern Glen Gold Green Hal Haver High Kel Kings Lan Lark Len Lime "
        "Linden Mar Mel Mont New North Nov Old Or Pel Port Ravens Red Ros Rot Salt Sel "
        "Silver South Stan Sun Tam Tor Ul Vel Ver Wal Wes White Wil Yel"
    ).split()
)
_CITY_ENDS: Final = tuple(
    (
        "beck berg borough bourne bridge brook burg bury by castle cliff dale don dorf "
        "field fell ford gate grove hafen ham haven heim hill holm hurst lake land mere "
        "minster mouth pool port stadt stead sted ton vale ville wick wood"
    ).split()
)
_BRAND_STARTS: Final = tuple(
    (
        "Ar Bal Bo Bri Cal Ce Da Del Do El En Fa Fi Flo Ga Gri Ha Hel Ju Ka Kel Kor La Li "
        "Lu Ma Mi Mo Na Ne No Or Pa Pe Qui Ra Ri So Sti Ta Te Tor Tri Ul Va Vi Vo Wa Xe "
        "Yo Za Zi"
    ).split()
)
_BRAND_ENDS: Final = tuple(
    (
        "bex bo cca dex dra fino fix ga go ka kor la lix lo ma mar mex mo na nex nik no "
        "nta ra ria rix ro sa san sto ta tec tia to tron va vex via vo xo za zen"
    ).split()
)


def person(rng: Random, split: Split) -> str:
    """Draw a full name, such as ``"Mara Lindwood"``."""
    return draw(
        rng,
        split,
        lambda r: f"{r.choice(FIRST_NAMES)} {r.choice(_FAMILY_STARTS)}{r.choice(_FAMILY_ENDS)}",
    )


def city(rng: Random, split: Split) -> str:
    """Draw a city, such as ``"Lindenford"``."""
    return draw(rng, split, lambda r: r.choice(_CITY_STARTS) + r.choice(_CITY_ENDS))


def brand(rng: Random, split: Split) -> str:
    """Draw a brand, such as ``"Toria"``."""
    return draw(rng, split, lambda r: r.choice(_BRAND_STARTS) + r.choice(_BRAND_ENDS))


def number(rng: Random, split: Split, digits: int) -> int:
    """Draw a number with exactly ``digits`` decimal digits (an order number, say)."""
    low, high = 10 ** (digits - 1), 10**digits - 1
    return int(draw(rng, split, lambda r: str(r.randint(low, high))))
