"""The report as one page: opens offline, prints, and needs no script.

headline and bars   as written → best fixed order → planned
prefix tree         icicle of the plan, the written order beside it; each picture with its figures
fields              what repeats, what is reused
equal questions     what deduplication saves, and which fields stop it
"""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Final

from spark_llm.analyze import wording
from spark_llm.analyze.analysis import FIXED, PLANNED, WRITTEN
from spark_llm.analyze.bars import order_bars, share_bar
from spark_llm.analyze.icicle import icicle
from spark_llm.analyze.markup import data_table, el, page
from spark_llm.analyze.numbers import cut, percent, share, short
from spark_llm.analyze.tree import CLOSER_REQUESTS

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from spark_llm.analyze.analysis import Analysis
    from spark_llm.analyze.markup import Child

_WIDE_PX: Final = 880
_NARROW_PX: Final = 460
_FULL_PX: Final = 1336
_MAX_NODES: Final = 40
_HOW_TO_READ: Final = (
    "One level per field, from the start of the prompt down. Width is the prompt tokens of the requests, "
    "height the field's share of them. Coloured is what the cache already holds, grey what is computed."
)


def html_report(analysis: Analysis) -> str:
    """Returns the page."""
    css = resources.files("spark_llm").joinpath("analyze/report.css").read_text(encoding="utf-8")
    body = el(
        "body",
        _headline(analysis),
        _trees(analysis),
        _fields(analysis),
        _duplicates(analysis),
        _made(analysis),
    )
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("title", f"Prefix report: {analysis.table}"),
        el("style", css),
    )
    return page(el("html", head, body, lang="en"))


def _headline(analysis: Analysis) -> Element:
    written, best = analysis.orders[WRITTEN], wording.sent(analysis)
    orders = list(analysis.orders.values())
    rows: list[list[Child]] = [
        [
            o.name,
            f"{o.requests:,}",
            f"{o.prompt_tokens:,}",
            f"{o.reused_tokens:,}",
            percent(o.reused_share),
            f"{o.compute_tokens:,}",
            f"{o.compute_unlimited_tokens:,}",
            percent(o.squared_share),
        ]
        for o in orders
    ]
    head = [
        "order",
        "requests",
        "prompt tokens",
        "reused",
        "share",
        "to compute",
        "with an unlimited cache",
        "squared-length share",
    ]
    return el(
        "header",
        el("h1", f"{analysis.table} · {analysis.rows:,} rows · {len(analysis.fields)} fields"),
        el(
            "div",
            f"{short(written.compute_tokens)} → ",
            el("b", short(best.compute_tokens)),
            " tokens to compute",
            class_="headline",
        ),
        el("p", wording.verdict(analysis), class_="verdict"),
        el("p", f"Not reordered: {analysis.reason}") if analysis.reason else None,
        el("div", order_bars(orders), class_="scroll bars"),
        data_table("Prompt tokens per order", head, rows),
    )


def _trees(analysis: Analysis) -> Element:
    planned, written = analysis.trees[PLANNED], analysis.trees[WRITTEN]
    pair = el("div", class_="pair")
    for name, tree, width in ((PLANNED, planned, _WIDE_PX), (WRITTEN, written, _NARROW_PX)):
        report = analysis.orders[name]
        title = f"{name.capitalize()}: {percent(report.reused_share)} reused"
        pair.append(el("div", el("h3", title), el("div", icicle(tree, width, title), class_="scroll")))
    rows: list[list[Child]] = []
    for name, tree in ((PLANNED, planned), (WRITTEN, written)):
        rows += [
            [
                name,
                str(at),
                level.name,
                f"{level.tokens:,}",
                percent(level.tokens / max(tree.prompt_tokens, 1)),
                f"{level.reused_tokens:,}",
                share(level.reused_tokens, level.tokens),
            ]
            for at, level in enumerate(tree.levels)
        ]
    chunk = " The picture shows the first chunk." if analysis.chunks > 1 else ""
    nodes: list[list[Child]] = [
        [
            level.name,
            cut(node.label, 90),
            f"{node.requests:,}",
            f"{node.tokens:,}",
            share(node.reused_tokens, node.tokens),
        ]
        for level, node in sorted(
            ((level, node) for level in planned.levels[1:] for node in level.nodes if node.runs == 1),
            key=lambda pair: -pair[1].tokens,
        )[:_MAX_NODES]
    ]
    return el(
        "section",
        el("h2", "Prefix tree"),
        el(
            "p",
            _HOW_TO_READ + chunk,
            class_="quiet",
        ),
        pair,
        _closer(analysis),
        data_table(
            "Levels of both trees",
            ["order", "level", "field", "tokens", "of all", "reused", "share"],
            rows,
            3,
        ),
        el(
            "details",
            el("summary", f"The {len(nodes)} largest nodes of the planned tree"),
            data_table("Nodes", ["field", "value", "requests", "tokens", "reused"], nodes, 2),
        )
        if nodes
        else None,
    )


def _closer(analysis: Analysis) -> Element | None:
    if analysis.closer is None:
        return None
    title = f"A closer look: {CLOSER_REQUESTS} planned requests in a row, which reuse about as much as all do"
    picture = el("div", icicle(analysis.closer, _FULL_PX, title), class_="scroll")
    return el("div", el("h3", title), picture, class_="closer")


def _fields(analysis: Analysis) -> Element:
    total = sum(report.tokens for report in analysis.field_reports)
    rows: list[list[Child]] = [
        [
            f.name,
            f"{f.tokens:,}",
            share(f.tokens, total),
            f"{f.distinct:,}",
            share(f.repeated_tokens, f.tokens),
            share_bar(f.reused_tokens.get(WRITTEN, 0), f.tokens),
            share(f.reused_tokens.get(WRITTEN, 0), f.tokens),
            share_bar(f.reused_tokens.get(PLANNED, 0), f.tokens),
            share(f.reused_tokens.get(PLANNED, 0), f.tokens),
            wording.note(f),
        ]
        for f in sorted(analysis.field_reports, key=lambda report: -report.tokens)
    ]
    head = [
        "field",
        "tokens",
        "of all",
        "distinct values",
        "repeats",
        "reused as written",
        "",
        "reused as planned",
        "",
        "note",
    ]
    return el(
        "section",
        el("h2", "Fields"),
        el(
            "p",
            "“Repeats” is the share of a field's tokens in values seen before: no order reuses more.",
            class_="quiet",
        ),
        el("p", f"{FIXED.capitalize()}: {analysis.orders[FIXED].field_order}"),
        el(
            "p",
            f"{PLANNED.capitalize()} ({analysis.question.policy}, {analysis.method}): "
            f"{analysis.orders[PLANNED].field_order}",
        ),
        data_table("Tokens per field", head, rows),
    )


def _duplicates(analysis: Analysis) -> Element:
    rows: list[list[Child]] = [
        [
            wording.left_out(line, len(analysis.fields)),
            f"{line.questions:,}",
            share_bar(line.rows - line.questions, line.rows),
            percent(line.saved_share),
        ]
        for line in analysis.duplicates
    ]
    return el(
        "section",
        el("h2", "Equal questions"),
        el(
            "p",
            "Rows whose fields are all equal are asked once. Leaving a field out changes the question: "
            "that is yours to decide.",
            class_="quiet",
        ),
        *(el("p", text, class_="warning") for text in wording.warnings(analysis)),
        data_table(
            "Distinct questions by the fields left out", ["fields", "questions", "calls saved", ""], rows
        ),
    )


def _made(analysis: Analysis) -> Element:
    question = analysis.question
    flight = f"{question.in_flight} requests in flight" if question.in_flight else "one request at a time"
    chunks = f" {analysis.chunks} chunks, each planned by itself." if analysis.chunks > 1 else ""
    return el(
        "footer",
        el("p", f"Instruction: {question.instruction}"),
        el(
            "p",
            f"Tokens: {analysis.counted}. Simulated prefix cache: {question.cache_tokens:,} tokens in "
            f"blocks of {question.block_tokens}, least recently used out first, {flight}.{chunks} "
            "Made by spark-llm analyze.",
        ),
    )
