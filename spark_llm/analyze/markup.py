"""HTML and SVG as a tree of elements, so that no value of a table can ever become markup.

el("p", "5 < 6", class_="note")  ──►  <p class="note">5 &lt; 6</p>
"""

from __future__ import annotations

import re
from typing import Final
from xml.etree.ElementTree import Element, tostring

Child = Element | str | None

_UNPRINTABLE: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def el(tag: str, *children: Child, **attributes: str | float) -> Element:
    """Returns an element.

    Args:
        tag: its name.
        children: elements and texts, in order; None is left out.
        attributes: ``class_`` stands for ``class``, other underscores for hyphens; numbers keep two decimals.
    """
    found = Element(tag)
    for name, value in attributes.items():
        text = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
        found.set(name.rstrip("_").replace("_", "-"), clean(text))
    last: Element | None = None
    for child in children:
        if child is None:
            continue
        if isinstance(child, Element):
            found.append(child)
            last = child
        elif last is None:
            found.text = (found.text or "") + clean(child)
        else:
            last.tail = (last.tail or "") + clean(child)
    return found


def clean(text: str) -> str:
    """Returns the text with what no page can hold (control characters, lone surrogates) replaced by �."""
    return _UNPRINTABLE.sub("\ufffd", text)


def page(root: Element) -> str:
    """Returns a whole HTML document."""
    return "<!DOCTYPE html>\n" + tostring(root, encoding="unicode", method="html") + "\n"


def data_table(caption: str, head: list[str], rows: list[list[Child]], words: int = 1) -> Element:
    """Returns a table; its first ``words`` columns, and those without a digit, hold words, others numbers."""
    right = [at >= words and any(_is_number(row[at]) for row in rows) for at in range(len(head))]

    def cells(tag: str, row: list[Child]) -> Element:
        found = el("tr")
        for at, child in enumerate(row):
            found.append(el(tag, child, **({"class_": "number"} if right[at] else {})))
        return found

    return el(
        "div",
        el(
            "table",
            el("caption", caption),
            el("thead", cells("th", list(head))),
            el("tbody", *(cells("td", row) for row in rows)),
        ),
        class_="scroll",
    )


def _is_number(child: Child) -> bool:
    return isinstance(child, str) and bool(re.fullmatch(r"[<\d][\d,. ]*( ?%| [kM])?", child))
