"""What `spark-llm analyze` prints: plain text, 110 columns wide."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Final

from spark_llm.analyze import wording
from spark_llm.analyze.analysis import FIXED, PLANNED, WRITTEN
from spark_llm.analyze.numbers import cut, percent, share

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spark_llm.analyze.analysis import Analysis

WIDTH: Final = 110
_NAME_CHARS: Final = 28
_MAX_FIELDS: Final = 30


def text_report(analysis: Analysis) -> str:
    """Returns the report, ending with a line break."""
    parts = [
        _about(analysis),
        _orders(analysis),
        _verdict(analysis),
        _fields(analysis),
        _duplicates(analysis),
    ]
    return "\n\n".join(parts) + "\n"


def _about(analysis: Analysis) -> str:
    question = analysis.question
    flight = f", {question.in_flight} requests in flight" if question.in_flight else ", one request at a time"
    lines = [
        f"{analysis.table}: {analysis.rows:,} rows, {len(analysis.fields)} fields",
        f"tokens  {analysis.counted}",
        f"prompt  {analysis.head_tokens} tokens of system message and instruction, then the fields as JSON",
        f"cache   {question.cache_tokens:,} tokens in blocks of {question.block_tokens}{flight}",
    ]
    if analysis.chunks > 1:
        lines.append(
            f"chunks  {analysis.chunks}: each planned by itself; duplicates are those within a chunk"
        )
    return "\n".join(lines)


def _orders(analysis: Analysis) -> str:
    head = [
        "order",
        "requests",
        "prompt tokens",
        "from cache",
        "",
        "to compute",
        "cache unlimited",
        "squares",
    ]
    rows = [
        [
            order.name,
            f"{order.requests:,}",
            f"{order.prompt_tokens:,}",
            f"{order.reused_tokens:,}",
            percent(order.reused_share),
            f"{order.compute_tokens:,}",
            f"{order.compute_unlimited_tokens:,}",
            percent(order.squared_share),
        ]
        for order in analysis.orders.values()
    ]
    return table(head, rows)


def _verdict(analysis: Analysis) -> str:
    planned = analysis.orders[PLANNED]
    fixed = analysis.orders[FIXED]
    lines = [wording.verdict(analysis)]
    if analysis.reason:
        lines.append(f"not reordered: {analysis.reason}")
    lines += [
        f"{FIXED}: {fixed.field_order}",
        f"{PLANNED} ({analysis.question.policy}, {analysis.method}): {planned.field_order}",
    ]
    return "\n".join(
        textwrap.fill(line, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
        for line in lines
    )


def _fields(analysis: Analysis) -> str:
    total = sum(report.tokens for report in analysis.field_reports)
    head = ["field", "tokens", "of all", "distinct", "repeats", WRITTEN, PLANNED, "note"]
    ranked = sorted(analysis.field_reports, key=lambda report: -report.tokens)
    rows = [
        [
            cut(report.name, _NAME_CHARS),
            f"{report.tokens:,}",
            share(report.tokens, total),
            f"{report.distinct:,}",
            share(report.repeated_tokens, report.tokens),
            share(report.reused_tokens.get(WRITTEN, 0), report.tokens),
            share(report.reused_tokens.get(PLANNED, 0), report.tokens),
            wording.note(report),
        ]
        for report in ranked[:_MAX_FIELDS]
    ]
    more = len(ranked) - len(rows)
    tail = f"\n… {more} more fields, all in --json and --html" if more > 0 else ""
    caption = (
        "Share of each field's tokens that repeats, and that is found in the cache as written and as planned:"
    )
    return f"{caption}\n{table(head, rows)}{tail}"


def _duplicates(analysis: Analysis) -> str:
    rows = [
        [wording.left_out(line, len(analysis.fields)), f"{line.questions:,}", percent(line.saved_share)]
        for line in analysis.duplicates
    ]
    lines = [table(["equal questions are asked once", "questions", "calls saved"], rows)]
    lines += [
        textwrap.fill(f"Warning: {text}", WIDTH, subsequent_indent="  ")
        for text in wording.warnings(analysis)
    ]
    return "\n".join(lines)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns columns two blanks apart; all but the first and a last one of words stand to the right."""
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
    words = head[-1] == "note"

    def line(row: Sequence[str]) -> str:
        cells = [
            text.ljust(width) if at == 0 or (words and at == len(row) - 1) else text.rjust(width)
            for at, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    return "\n".join(line(row) for row in (head, *rows))
