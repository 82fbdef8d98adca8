"""Bars in SVG: one per order, and small ones inside tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from spark_llm.analyze.markup import el
from spark_llm.analyze.numbers import percent, short

if TYPE_CHECKING:
    from collections.abc import Sequence
    from xml.etree.ElementTree import Element

    from spark_llm.analyze.analysis import OrderReport

WIDTH_PX: Final = 1320
_NAME_PX: Final = 190
_ROW_PX: Final = 40
_BAR_PX: Final = 30
_CHAR_PX: Final = 7.6
_CELL_PX: Final = 132


def order_bars(orders: Sequence[OrderReport]) -> Element:
    """Returns one bar per order: what is left to compute, then what is reused, on one scale of tokens."""
    most = max((order.prompt_tokens for order in orders), default=1) or 1
    room = WIDTH_PX - _NAME_PX
    root = el(
        "svg",
        el("title", "Prompt tokens per order: computed and reused"),
        role="img",
        viewBox=f"0 0 {WIDTH_PX} {_ROW_PX * len(orders)}",
    )
    for at, order in enumerate(orders):
        top = at * _ROW_PX
        computed = order.compute_tokens / most * room
        reused = order.reused_tokens / most * room
        root.append(el("text", order.name, x=0, y=top + 20, class_="bar-name"))
        root.append(el("rect", x=_NAME_PX, y=top, width=computed, height=_BAR_PX, class_="computed"))
        root.append(el("rect", x=_NAME_PX + computed, y=top, width=reused, height=_BAR_PX, class_="reused"))
        for kind, left, width, words in (
            (
                "on-computed",
                _NAME_PX,
                computed,
                (f"{short(order.compute_tokens)} to compute", short(order.compute_tokens)),
            ),
            (
                "on-reused",
                _NAME_PX + computed,
                reused,
                (f"{percent(order.reused_share)} reused", percent(order.reused_share)),
            ),
        ):
            label = next((text for text in words if len(text) * _CHAR_PX + 16 <= width), None)
            if label:
                root.append(el("text", label, x=left + 8, y=top + 20, class_=f"bar-label {kind}"))
    return root


def share_bar(part: float, whole: float) -> Element:
    """Returns a small bar for a table's cell: the part that is reused in the whole."""
    share = part / whole if whole else 0.0
    return el(
        "svg",
        el("title", percent(share)),
        el("rect", x=0, y=3, width=_CELL_PX, height=10, class_="computed"),
        el("rect", x=0, y=3, width=_CELL_PX * share, height=10, class_="reused") if share > 0 else None,
        viewBox=f"0 0 {_CELL_PX} 16",
        role="img",
    )
