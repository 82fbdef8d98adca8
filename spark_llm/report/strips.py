"""Small pictures over the same time, one under the other: no axis has two meanings.

requests        ▁▂▆███▇▅▂     running; waiting as a line above
tokens per s    ▁▃▅▇▇▆▅▃▁     prompts and answers; answers alone as a line
prefix hits     ▇▇███████     share of the prompt tokens
KV cache        ▁▁▂▃▄▄▅▅▂     share in use

and where engines speculate: draft length, share of drafts accepted, goodput, time of a decision; where they
swap: KV that comes from the host, and goes there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from spark_llm.analyze.markup import data_table, el
from spark_llm.analyze.numbers import percent, short
from spark_llm.progress.line import clock

if TYPE_CHECKING:
    from collections.abc import Sequence
    from xml.etree.ElementTree import Element

    from spark_llm.analyze.markup import Child
    from spark_llm.report.series import Series, Speculation

WIDTH_PX: Final = 1336
_NAME_PX: Final = 148
_RIGHT_PX: Final = 8
_STRIP_PX: Final = 76
_GAP_PX: Final = 24
_AXIS_PX: Final = 22
_MOST_ROWS: Final = 24


class _Strip(NamedTuple):
    name: str
    unit: str
    kind: str
    area: Sequence[float | None]
    line: Sequence[float | None] | None
    line_name: str
    top: float


def strips(series: Series) -> Element:
    """Returns the picture; a strip without a value says that the engine does not tell."""
    parts = _strips(series)
    height = len(parts) * (_STRIP_PX + _GAP_PX) + _AXIS_PX
    root = el(
        "svg",
        el("title", "Engines over the time of the query"),
        role="img",
        class_="strips",
        viewBox=f"0 0 {WIDTH_PX} {height}",
    )
    for at, part in enumerate(parts):
        root.append(_draw(part, series, _GAP_PX / 2 + at * (_STRIP_PX + _GAP_PX)))
    root.append(_axis(series, height - _AXIS_PX))
    return root


def strips_table(series: Series) -> Element:
    """Returns the same figures, at most `_MOST_ROWS` times of the query."""
    step = -(-len(series.seconds) // _MOST_ROWS)
    rows: list[list[Child]] = [
        [
            clock(series.seconds[at]),
            _count(series.running[at]),
            _count(series.waiting[at]),
            _count(series.tokens_per_s[at]),
            _count(series.generated_per_s[at]),
            _share(series.hit_share[at]),
            _share(series.kv_share[at]),
            *_speculation_cells(series.speculation, at),
            *(
                [short(series.swap.loaded_per_s[at]), short(series.swap.stored_per_s[at])]
                if series.swap
                else []
            ),
        ]
        for at in range(step // 2, len(series.seconds), step)
    ]
    head = [
        "time", "running requests", "waiting requests", "tokens per s", "of these generated", "prefix hits",
        "KV cache in use",
    ]  # fmt: skip
    if series.speculation is not None:
        head += ["draft length", "drafts accepted", "goodput", "decision in ms"]
    if series.swap is not None:
        head += ["KV bytes per s from host", "to host"]
    return data_table("Engines over time", head, rows)


def _strips(series: Series) -> list[_Strip]:
    def most(*lines: Sequence[float | None]) -> float:
        return max((value for line in lines for value in line if value is not None), default=0.0) or 1.0

    found = [
        _Strip(
            "requests", "", "computed", series.running, series.waiting, "waiting",
            most(series.running, series.waiting),
        ),
        _Strip(
            "tokens per second", "", "computed", series.tokens_per_s, series.generated_per_s, "generated",
            most(series.tokens_per_s),
        ),
        _Strip("prefix hits", "%", "reused", series.hit_share, None, "", 1.0),
        _Strip("KV cache in use", "%", "computed", series.kv_share, None, "", 1.0),
    ]  # fmt: skip
    if (s := series.speculation) is not None:
        found += [
            _Strip("draft length", ".", "computed", s.draft_length, None, "", most(s.draft_length)),
            _Strip("drafts accepted", "%", "reused", s.acceptance, None, "", 1.0),
            _Strip("goodput", "", "computed", s.goodput, None, "", most(s.goodput)),
            _Strip("decision, ms", ".", "computed", s.decision_ms, None, "", most(s.decision_ms)),
        ]
    if (swap := series.swap) is not None:
        both = swap.loaded_per_s, swap.stored_per_s
        found.append(_Strip("KV from host, bytes/s", "", "reused", *both, "to host", most(*both)))
    return found


def _draw(strip: _Strip, series: Series, top: float) -> Element:
    bottom, room = top + _STRIP_PX, WIDTH_PX - _NAME_PX - _RIGHT_PX
    found = el("g")
    known = [value for value in strip.area if value is not None]
    found.append(el("text", strip.name, x=_NAME_PX - 8, y=top + 28, class_="level", text_anchor="end"))
    if not known:
        found.append(
            el(
                "text",
                "not told by this engine",
                x=_NAME_PX + 4,
                y=bottom - _STRIP_PX / 2 + 4,
                class_="share",
            )
        )
        found.append(el("line", x1=_NAME_PX, x2=_NAME_PX + room, y1=bottom, y2=bottom, class_="axis"))
        return found
    say = {"%": percent, ".": _fine}.get(strip.unit, short)
    mean = sum(known) / len(known)
    words = f"mean {say(mean)}" if strip.unit == "%" else f"mean {say(mean)}, most {say(max(known))}"
    found.append(el("text", words, x=_NAME_PX - 8, y=top + 44, class_="share", text_anchor="end"))
    step = room / len(series.seconds)

    def y(value: float) -> float:
        return bottom - min(1.0, value / strip.top) * _STRIP_PX

    for begin, values in _stretches(strip.area):
        left = _NAME_PX + begin * step
        points = [f"M{left:.1f} {bottom:.1f}"]
        for at, value in enumerate(values):
            points.append(
                f"L{left + at * step:.1f} {y(value):.1f}L{left + (at + 1) * step:.1f} {y(value):.1f}"
            )
        points.append(f"L{left + len(values) * step:.1f} {bottom:.1f}Z")
        found.append(el("path", d="".join(points), class_=strip.kind))
    if strip.line is not None and any(value for value in strip.line):
        for begin, values in _stretches(strip.line):
            marks = [
                (_NAME_PX + (begin + at + side) * step, y(value))
                for at, value in enumerate(values)
                for side in (0, 1)
            ]
            found.append(
                el("polyline", points=" ".join(f"{a:.1f},{b:.1f}" for a, b in marks), class_="second")
            )
        most = say(max(value for value in strip.line if value is not None))
        words = f"line: {strip.line_name}, most {most}"
        found.append(el("text", words, x=_NAME_PX - 8, y=top + 60, class_="share", text_anchor="end"))
    found.append(el("line", x1=_NAME_PX, x2=_NAME_PX + room, y1=bottom, y2=bottom, class_="axis"))
    found.append(el("line", x1=_NAME_PX, x2=_NAME_PX + room, y1=top, y2=top, class_="grid"))
    found.append(el("text", say(strip.top), x=_NAME_PX + room, y=top - 3, class_="share", text_anchor="end"))
    return found


def _axis(series: Series, top: float) -> Element:
    room = WIDTH_PX - _NAME_PX - _RIGHT_PX
    total = series.seconds[-1] + series.seconds[0]
    found = el("g")
    for part in range(5):
        anchor = "start" if part == 0 else "end" if part == 4 else "middle"
        found.append(
            el(
                "text", clock(total * part / 4), x=_NAME_PX + room * part / 4, y=top + 14, class_="share",
                text_anchor=anchor,
            )
        )  # fmt: skip
    return found


def _stretches(values: Sequence[float | None]) -> list[tuple[int, list[float]]]:
    """Runs of known values, with the place where each begins."""
    found: list[tuple[int, list[float]]] = []
    for at, value in enumerate(values):
        if value is None:
            continue
        if found and found[-1][0] + len(found[-1][1]) == at:
            found[-1][1].append(value)
        else:
            found.append((at, [value]))
    return found


def _speculation_cells(speculation: Speculation | None, at: int) -> list[Child]:
    if speculation is None:
        return []
    return [
        _fine(speculation.draft_length[at]),
        _share(speculation.acceptance[at]),
        _count(speculation.goodput[at]),
        _fine(speculation.decision_ms[at]),
    ]


def _fine(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _count(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _share(value: float | None) -> str:
    return "" if value is None else percent(value)
