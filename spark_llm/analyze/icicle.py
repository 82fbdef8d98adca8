"""The prefix tree as an icicle in SVG.

    instruction   ████████████████████████████████    width: prompt tokens of the requests below
    field 1       ▒███ Alien ███▒██ Heat ██▒███▒▒▒    height: the field's share of them, one line at least
    field 2       ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒    █ reused from the cache, ▒ computed

So the coloured area is about the share of the prompt tokens that is not computed again.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Final

from spark_llm.analyze.markup import el
from spark_llm.analyze.numbers import percent, share

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from spark_llm.analyze.folding import Level, Node, PrefixTree

GUTTER_PX: Final = 148
LINE_PX: Final = 24
HEIGHT_PX: Final = 440
_CHAR_PX: Final = 6.4
_BOLD_PX: Final = 7.4
_PAD_PX: Final = 4
_LEADING_PX: Final = 14
_LEAST_LABEL_PX: Final = 32
_TITLE_CHARS: Final = 160


def icicle(tree: PrefixTree, width_px: int, name: str) -> Element:
    """Returns the picture, ``width_px`` wide in its own units; it scales with the page.

    Args:
        tree: what to draw.
        width_px: with the names of the levels at its left.
        name: what it shows, for readers that cannot see it.
    """
    levels = tree.levels
    spare = max(HEIGHT_PX - LINE_PX * len(levels), 0)
    total = max(tree.prompt_tokens, 1)
    root = el(
        "svg",
        el("title", name),
        role="img",
        class_="icicle",
        viewBox=f"0 0 {width_px} {LINE_PX * len(levels) + spare}",
    )
    top = 0.0
    for level in levels:
        height = LINE_PX + spare * level.tokens / total
        root.append(_level_name(level, top, height, total))
        for node in level.nodes:
            root.append(_node(node, level, top, height, width_px - GUTTER_PX))
        top += height
    return root


def _level_name(level: Level, top: float, height: float, total: int) -> Element:
    found = el(
        "g",
        el(
            "title",
            f"{level.name}: {level.tokens:,} tokens, {share(level.reused_tokens, level.tokens)} reused",
        ),
    )
    middle = top + height / 2
    two = height >= 2 * LINE_PX
    name = fitted(level.name, (GUTTER_PX - 3 * _PAD_PX) * _CHAR_PX / _BOLD_PX)
    found.append(
        el(
            "text",
            name,
            x=GUTTER_PX - 2 * _PAD_PX,
            y=middle + (-3 if two else 4),
            class_="level",
            text_anchor="end",
        )
    )
    if two:
        words = f"{percent(level.tokens / total)} of all tokens"
        found.append(
            el("text", words, x=GUTTER_PX - 2 * _PAD_PX, y=middle + 12, class_="share", text_anchor="end")
        )
    return found


def _node(node: Node, level: Level, top: float, height: float, width_px: int) -> Element:
    left, width = GUTTER_PX + node.begin * width_px, (node.end - node.begin) * width_px
    if not node.tokens:
        # nulls take no place in the prompt
        words = el("text", node.label, x=left + _PAD_PX, y=top + height / 2 + 4, class_="share")
        return el(
            "g",
            el("title", _title(node, level)),
            _part("empty", left, top, max(width - 0.8, 0.2), height),
            words if node.label == "null" and width >= _LEAST_LABEL_PX else None,
        )
    reused = node.reused_tokens / node.tokens
    computed_px = width * (1 - reused)
    found = el("g", el("title", _title(node, level)))
    gap = 0.8 if width > 2 else 0.0
    if computed_px > 0.05:
        found.append(
            _part("computed", left, top, min(computed_px, width - gap if reused == 0 else width), height)
        )
    if reused > 0:
        found.append(_part("reused", left + computed_px, top, max(width - computed_px - gap, 0.2), height))
    kind, start, room = (
        ("on-reused", left + computed_px, width - computed_px - gap)
        if reused >= 0.5
        else ("on-computed", left, computed_px - gap)
    )
    lines = wrapped(node.label, room - 2 * _PAD_PX, int((height - 6) // _LEADING_PX) or 1)
    if lines and room >= _LEAST_LABEL_PX:
        first = (height - _LEADING_PX * len(lines)) / 2 + 10
        texts = [
            el("text", line, x=_PAD_PX, y=first + _LEADING_PX * at, class_=kind)
            for at, line in enumerate(lines)
        ]
        # an inner viewport cuts whatever the estimate of the text's width got wrong
        found.append(el("svg", *texts, x=start, y=top, width=room - 1, height=height))
    return found


def _part(kind: str, left: float, top: float, width: float, height: float) -> Element:
    return el("rect", x=left, y=top, width=width, height=height - 1, class_=kind)


def _title(node: Node, level: Level) -> str:
    label = node.label if len(node.label) <= _TITLE_CHARS else node.label[:_TITLE_CHARS] + "…"
    where = label if level.mixed or level.name == "instruction" else f"{level.name}: {label}"
    return (
        f"{where}\n{node.requests:,} requests, {node.tokens:,} tokens here, "
        f"{share(node.reused_tokens, node.tokens) or 'none'} reused"
    )


def wrapped(text: str, room_px: float, most: int) -> list[str]:
    """Returns the text on at most ``most`` lines, the last one cut; no line where not even a word fits."""
    words = text.split()
    if words[:1] == ["…"]:
        return [line for line in [fitted(text, room_px)] if line]
    lines: list[str] = []
    while words and len(lines) < most - 1:
        line = words[0]
        if fitted(line, room_px) != line:
            break
        count = 1
        while count < len(words) and fitted(f"{line} {words[count]}", room_px) == f"{line} {words[count]}":
            line += f" {words[count]}"
            count += 1
        lines.append(line)
        words = words[count:]
    rest = fitted(" ".join(words), room_px) if words else ""
    return [*lines, rest] if rest else lines


def fitted(text: str, room_px: float) -> str:
    """Returns as much of the text as fits on one line, or nothing where that would be no word."""
    line = " ".join(text.split())
    if line.startswith("… ") and len(line) * _CHAR_PX > room_px:
        return ""
    used = 0.0
    for at, char in enumerate(line):
        used += 2 * _CHAR_PX if unicodedata.east_asian_width(char) in {"W", "F"} else _CHAR_PX
        if used > room_px:
            return line[: at - 1].rstrip(" .,;:·") + "…" if at > 4 else ""
    return line
