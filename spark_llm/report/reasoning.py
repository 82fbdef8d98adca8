"""Where a call thought or asked the costly model, what its pilot said, whether the router is right.

expected chance to be wrong  ─►  seen, in cross-validation on the pilot's rows: a dot for each tenth,
as large as its share of the rows; on the diagonal the router says what happens
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from spark_llm.analyze.markup import data_table, el

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from xml.etree.ElementTree import Element

    from spark_llm.analyze.markup import Child
    from spark_llm.report.read import Call

_SIDE_PX: Final = 180
_MARGIN_PX: Final = 24
_DOT_PX: Final = 12


def reasoning(call: Call) -> Element | None:
    """Returns the part about a call's thinking, or its two models; None where there is neither."""
    thought, asked = call.count("thinkingTokens"), call.count("questions")
    found = call.reasoning
    if not thought and found is None and not call.models:
        return None
    generated, parts = call.count("generatedTokens"), []
    if call.models:
        cheap, costly = call.models
        dear = call.count("costlyTokens")
        parts.append(f"{call.count('costlyRows'):,} of {asked:,} questions answered by {costly}")
        parts.append(f"{cheap} has generated {generated - dear:,} tokens, {costly} {dear:,}")
    if thought or not call.models:
        parts.append(f"{call.count('reasonedRows'):,} of {asked:,} questions answered with reasoning")
        parts.append(f"{thought:,} of {generated:,} generated tokens were thinking")
    for metric, words in (("cutRows", "had their thinking cut off"), ("unaskedRows", "thought unasked")):
        if count := call.count(metric):
            parts.append(f"{count:,} {words}")
    root = el(
        "div",
        el("h3", "Models" if call.models else "Reasoning"),
        el("p", "; ".join(parts) + "."),
        class_="reasoning",
    )
    if found is not None:
        root.append(el("p", _pilot(found), class_="quiet"))
        if (quality := (found.get("router") or {}).get("quality")) is not None and quality["plot"]:
            root.append(el("div", _plot(quality["plot"]), class_="scroll"))
            root.append(_table(quality))
    return root


def _pilot(found: Mapping[str, Any]) -> str:
    gain, low, high = (100 * found[name] for name in ("gain", "low", "high"))
    return (
        f"Pilot of {found['rows']:,} rows: gain {gain:+.1f} points ({low:+.1f} to {high:+.1f}), "
        f"{found['extra_tokens']:.0f} tokens more a row. {found['reason'][:1].upper()}{found['reason'][1:]}."
    )


def _plot(bins: Sequence[Sequence[float]]) -> Element:
    size = _SIDE_PX + 2 * _MARGIN_PX

    def at(expected: float, seen: float) -> tuple[str, str]:
        return f"{_MARGIN_PX + expected * _SIDE_PX:.1f}", f"{_MARGIN_PX + (1 - seen) * _SIDE_PX:.1f}"

    (x1, y1), (x2, y2) = at(0, 0), at(1, 1)
    root = el(
        "svg",
        el("title", "Expected and seen chance that the cheap arm is wrong"),
        el("rect", x=x1, y=y2, width=str(_SIDE_PX), height=str(_SIDE_PX), class_="axis", fill="none"),
        el("line", x1=x1, y1=y1, x2=x2, y2=y2, class_="grid"),
        role="img",
        class_="calibration",
        viewBox=f"0 0 {size} {size}",
        width=str(size),
    )
    for expected, seen, share in bins:
        x, y = at(expected, seen)
        root.append(el("circle", cx=x, cy=y, r=f"{2 + _DOT_PX * share**0.5:.1f}"))
    root.append(el("text", "expected chance to be wrong → seen ↑", x=x1, y=str(size - 6), class_="quiet"))
    return root


def _table(quality: Mapping[str, Any]) -> Element:
    rows: list[list[Child]] = [
        [f"{100 * expected:.0f} %", f"{100 * seen:.0f} %", f"{100 * share:.0f} %"]
        for expected, seen, share in quality["plot"]
    ]
    caption = (
        f"Calibration on the pilot: ECE {quality['ece_before']:.3f} before, {quality['ece_after']:.3f} after"
        f" (by chance alone {quality['ece_chance']:.3f}); AUC {quality['auc']:.2f}"
    )
    return data_table(caption, ["expected wrong", "seen wrong", "share of rows"], rows, 0)
