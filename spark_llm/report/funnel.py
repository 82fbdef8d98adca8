"""Where the rows of a call went: each step with what it costs, or what it would have cost.

rows read            ████████████████████████████  20,000
at the call          ████████░░░░░░░░░░░░░░░░░░░░   6,000   predicates, joins and limits before the call
from the cache       ██                             1,200   rows that the response cache answers
different questions  █████                          4,200   equal rows are asked once
asked of the engine  █████                          4,200   436 k prompt tokens, 92 % of them reused
failed               ▏                                  3
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from spark_llm.analyze.markup import data_table, el
from spark_llm.analyze.numbers import percent, short

if TYPE_CHECKING:
    from collections.abc import Sequence
    from xml.etree.ElementTree import Element

    from spark_llm.analyze.markup import Child
    from spark_llm.report.read import Call

WIDTH_PX: Final = 1336
_NAME_PX: Final = 148
_LABEL_PX: Final = 400
_ROW_PX: Final = 30
_BAR_PX: Final = 20


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the funnel.

    Attributes:
        name: what it is called.
        rows: that are left, or that this answers.
        kind: computed, reused, failed or empty: its colour.
        prompt_tokens: that it costs; for a step before the engine, what it would have cost.
        estimated: they are rows times the mean prompt.
        reused_tokens: of these, found in the engine's prefix cache.
        generated_tokens: of the answers.
        seconds: tasks stood still for it, summed over tasks; None where nothing measures that.
        note: why rows are fewer than before.
    """

    name: str
    rows: int
    kind: str = "computed"
    prompt_tokens: int | None = None
    estimated: bool = False
    reused_tokens: int | None = None
    generated_tokens: int | None = None
    seconds: float | None = None
    note: str = ""


def steps(call: Call) -> list[Step]:
    """Returns the steps of a call; those that did nothing are left out."""
    rows, requests = call.count("rows"), call.count("requests")
    # A row that was asked once more, with thinking, is still one question.
    questions = call.count("questions") or requests
    mean = call.count("promptTokens") / requests if requests else None

    def cost(count: int) -> int | None:
        return None if mean is None else round(count * mean)

    found = []
    if call.rows_read is not None and call.rows_read != rows:
        found.append(Step("rows read", call.rows_read, prompt_tokens=cost(call.rows_read), estimated=True))
    note = "predicates, joins and limits before the call" if found else ""
    if call.rows_read is not None and rows > call.rows_read:
        note = "joins make more of them"
    found.append(Step("at the call", rows, prompt_tokens=cost(rows), estimated=True, note=note))
    skipped, cached, spent = (call.count(name) for name in ("skippedRows", "cachedRows", "overBudgetRows"))
    if skipped:
        found.append(
            Step(
                "to be asked", rows - skipped, prompt_tokens=cost(rows - skipped), estimated=True,
                note="CASE, AND or OR makes other answers irrelevant",
            )
        )  # fmt: skip
    left = found[-1].rows
    if cached:
        note = "response cache, not asked"
        found.append(Step("from the cache", cached, "reused", cost(cached), estimated=True, note=note))
    if spent:
        found.append(Step("over the budget", spent, "empty", cost(spent), estimated=True, note="not asked"))
    if questions != left - cached - spent:
        found.append(
            Step(
                "different questions", questions, prompt_tokens=cost(questions), estimated=True,
                note="equal rows are asked once, rows of nulls not at all",
            )
        )  # fmt: skip
    found.append(
        Step(
            "asked of the engine", requests + call.count("retries"),
            prompt_tokens=call.count("promptTokens"), reused_tokens=call.count("cachedPromptTokens"),
            generated_tokens=call.count("generatedTokens"), seconds=call.count("engineWait") / 1000,
            note=_retried(call),
        )
    )  # fmt: skip
    if failed := call.count("failedRows"):
        found.append(Step("failed rows", failed, "failed", note="see errors"))
    return found


def _retried(call: Call) -> str:
    retries = call.count("retries")
    return f"{retries:,} of them sent again" if retries else ""


def funnel(parts: Sequence[Step], name: str) -> Element:
    """Returns the picture.

    Args:
        parts: of `steps`.
        name: what it shows, for readers that cannot see it.
    """
    most = max((part.rows for part in parts), default=0) or 1
    room = WIDTH_PX - _NAME_PX - _LABEL_PX
    root = el(
        "svg",
        el("title", name),
        role="img",
        class_="funnel",
        viewBox=f"0 0 {WIDTH_PX} {_ROW_PX * len(parts)}",
    )
    for at, part in enumerate(parts):
        top, width = at * _ROW_PX, part.rows / most * room
        middle = top + _BAR_PX / 2 + 4
        root.append(el("text", part.name, x=_NAME_PX - 8, y=middle, class_="level", text_anchor="end"))
        bar = el("g", el("title", f"{part.name}: {part.rows:,} rows"))
        reused = (part.reused_tokens or 0) / part.prompt_tokens if part.prompt_tokens else 0.0
        bar.append(el("rect", x=_NAME_PX, y=top, width=max(width, 1), height=_BAR_PX, class_=part.kind))
        if part.reused_tokens:
            bar.append(
                el("rect", x=_NAME_PX, y=top, width=max(width * reused, 0.2), height=_BAR_PX, class_="reused")
            )
        root.append(bar)
        words = el("text", x=_NAME_PX + max(width, 1) + 8, y=middle, class_="bar-figure")
        words.text = f"{part.rows:,}"
        rest = _words(part, reused)
        if rest:
            words.append(el("tspan", f"  {rest}", class_="share"))
        root.append(words)
    return root


def _words(part: Step, reused: float) -> str:
    if part.estimated:
        return part.note
    if part.prompt_tokens is None:
        return part.note
    text = f"{short(part.prompt_tokens)} prompt tokens"
    return f"{text}, {percent(reused)} of them reused" if part.reused_tokens else text


def funnel_table(parts: Sequence[Step]) -> Element:
    """Returns its figures."""
    rows: list[list[Child]] = [
        [
            part.name,
            f"{part.rows:,}",
            ""
            if part.prompt_tokens is None
            else f"{'about ' if part.estimated else ''}{part.prompt_tokens:,}",
            "" if part.reused_tokens is None else f"{part.reused_tokens:,}",
            "" if part.generated_tokens is None else f"{part.generated_tokens:,}",
            "" if part.seconds is None else f"{part.seconds:,.1f}",
            part.note,
        ]
        for part in parts
    ]
    head = ["step", "rows", "prompt tokens", "reused", "generated", "seconds of tasks", "note"]
    return data_table("Rows, tokens and seconds per step; “about”: rows times the mean prompt", head, rows)
