"""The run report as one page: opens offline, prints, needs no script, and escapes everything.

headline      rows → requests, tokens, seconds, what failed
per call      funnel, prefix tree, errors; each picture with its figures
engines       four strips over the time of the query
EXPLAIN       estimates with their actual figures
"""

from __future__ import annotations

from datetime import UTC, datetime
from importlib import resources
from typing import TYPE_CHECKING, Final

from spark_llm.analyze.icicle import icicle
from spark_llm.analyze.markup import data_table, el, page
from spark_llm.analyze.numbers import percent, share, short
from spark_llm.errors import SparkLLMError, conditions
from spark_llm.progress.line import clock
from spark_llm.report.funnel import funnel, funnel_table, steps
from spark_llm.report.reasoning import reasoning
from spark_llm.report.series import series_of
from spark_llm.report.strips import strips, strips_table

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from spark_llm.analyze.markup import Child
    from spark_llm.report.read import Call, Run

_FULL_PX: Final = 1336
_HOW_TO_READ: Final = (
    "One level per field, from the start of the prompt down. Width is the prompt tokens of the requests, "
    "height the field's share of them. Coloured is what the engine's prefix cache held already, grey what it "
    "computed."
)


def html_report(run: Run) -> str:
    """Returns the page."""
    read = resources.files("spark_llm")
    css = [read.joinpath(f"{part}/report.css").read_text(encoding="utf-8") for part in ("analyze", "report")]
    body = el(
        "body",
        _headline(run),
        *(_call(call, len(run.calls)) for call in run.calls),
        _engines(run),
        el("section", el("h2", "EXPLAIN, with actual figures"), el("pre", run.explain, class_="scroll")),
        _made(run),
    )
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("title", f"Run report: {run.application}, query {run.execution}"),
        el("style", "\n".join(css)),
    )
    return page(el("html", head, body, lang="en"))


def _headline(run: Run) -> Element:
    rows: list[list[Child]] = [
        [
            str(call.number),
            call.text,
            f"{call.count('rows'):,}",
            f"{call.count('requests'):,}",
            f"{call.count('promptTokens'):,}",
            share(call.count("cachedPromptTokens"), call.count("promptTokens")),
            f"{call.count('generatedTokens'):,}",
            f"{call.count('failedRows'):,}",
            call.site,
        ]
        for call in run.calls
    ]
    head = [
        "call", "text", "rows", "requests", "prompt tokens", "reused", "generated tokens", "failed rows",
        "name in metrics",
    ]  # fmt: skip
    asked, reached = run.total("requests"), run.total("rows")
    return el(
        "header",
        el("h1", f"{run.application} · query {run.execution} · {_when(run)}"),
        el("div", f"{short(reached)} rows → ", el("b", short(asked)), " requests", class_="headline"),
        _outcome(run),
        data_table("Calls, in the order in which they ran", head, rows, 2),
    )


def _outcome(run: Run) -> Element:
    prompt, generated = run.total("promptTokens"), run.total("generatedTokens")
    took = clock(run.seconds)
    parts = [f"{short(prompt + generated)} tokens in {took}"]
    if run.seconds >= 1 and prompt:
        parts.append(f"{short((prompt + generated) / run.seconds)} tokens per second")
    if prompt:
        parts.append(f"{percent(run.total('cachedPromptTokens') / prompt)} of the prompt tokens reused")
    failed = run.total("failedRows")
    parts.append(f"{failed:,} rows failed" if failed else "no row failed")
    if run.failed:
        why = f": {run.condition}" if run.condition else ""
        found = el(
            "p", el("b", f"The query failed after {took}{why}. ", class_="failed-text"), class_="verdict"
        )
        found[-1].tail = "; ".join(parts) + "."
        return found
    return el("p", "; ".join(parts) + ".", class_="verdict")


def _call(call: Call, calls: int) -> Element:
    parts = steps(call)
    name = f"Call {call.number} of {calls}"
    engine = f"{call.model}, " if call.model else ""
    return el(
        "section",
        el("h2", name),
        el("p", el("code", call.text)),
        el("p", f"Engine: {engine}{call.engine}.", class_="quiet"),
        el("div", funnel(parts, f"{name}: where its rows went"), class_="scroll"),
        el("details", el("summary", "The figures"), funnel_table(parts)),
        _prefixes(call),
        reasoning(call),
        _errors(call),
    )


def _prefixes(call: Call) -> Element | None:
    if call.tree is None or not call.levels:
        return el("p", "Nothing was asked, so there are no prefixes.", class_="quiet")
    total = sum(level.tokens for level in call.levels)
    reused = sum(level.reused_tokens for level in call.levels)
    order = " → ".join(call.order) or "no fields"
    title = f"Prefix tree: {share(reused, total) or '0 %'} reused"
    of = "the only window" if call.windows == 1 else f"the largest of {call.windows:,} windows"
    rows: list[list[Child]] = [
        [
            str(at),
            level.name + (f" or {level.others} more" if level.others else ""),
            f"{level.prefixes:,}",
            f"{level.tokens:,}",
            share(level.tokens, total),
            f"{level.reused_tokens:,}",
            share(level.reused_tokens, level.tokens),
        ]
        for at, level in enumerate(call.levels)
    ]
    return el(
        "div",
        el("h3", title),
        el("p", f"Field order: {order} ({call.order_source}). {_HOW_TO_READ} Shown is {of}.", class_="quiet"),
        el("div", icicle(call.tree, _FULL_PX, title), class_="scroll"),
        data_table(
            f"Levels of all {call.windows:,} windows; beginnings are counted in each",
            ["level", "field", "different beginnings", "tokens", "of all", "reused", "share"],
            rows,
            2,
        ),
        class_="prefixes",
    )


def _errors(call: Call) -> Element | None:
    if not call.errors:
        return None
    rows: list[list[Child]] = [
        [each.condition, each.message or _meaning(each.condition), f"{each.rows:,}"] for each in call.errors
    ]
    hidden = not any(each.message for each in call.errors)
    note = "Messages may quote rows; they are shown with spark.llm.logPrompts.enabled." if hidden else ""
    return el(
        "div",
        el("h3", f"Errors: {call.count('failedRows'):,} rows", class_="failed-text"),
        el("p", note, class_="quiet") if note else None,
        data_table("The most frequent", ["condition", "message", "rows"], rows, 2),
        class_="errors",
    )


def _meaning(condition: str) -> str:
    return SparkLLMError(condition).message if condition in conditions() else ""


def _engines(run: Run) -> Element:
    series = series_of(run)
    found = el("section", el("h2", "Engines over time"))
    if series is None:
        found.append(el("p", "The query was over before a second reading.", class_="quiet"))
        return found
    source = (
        "Read from the engines of the executors every two seconds, other queries' requests included."
        if series.of_engines
        else "This engine has no metrics page: counted by the tasks of the query, as answers came in."
    )
    found.append(el("p", source, class_="quiet"))
    found.extend(el("p", text, class_="quiet") for text in _memory(run))
    found.append(el("div", strips(series), class_="scroll"))
    found.append(el("details", el("summary", "The figures"), strips_table(series)))
    return found


def _memory(run: Run) -> list[str]:
    """A line per way of laying out the KV cache, with the executors whose engines have it."""
    found: dict[str, list[str]] = {}
    for each in run.memory:
        what = "jenga, {:,} large pages" if each.allocator == "jenga" else "vLLM's own, {:,} blocks"
        found.setdefault(f"{what.format(each.pages)}: {each.reason}", []).append(each.executor)
    return [f"KV cache of executor {', '.join(names)}: {text}." for text, names in found.items()]


def _when(run: Run) -> str:
    start = datetime.fromtimestamp(run.started_ms / 1000, UTC)
    return f"{start:%Y-%m-%d %H:%M:%S} UTC"


def _made(run: Run) -> Element:
    budget = f" Budget {run.budget}." if run.budget else ""
    return el(
        "footer",
        el("p", f"Application {run.application_id}, Spark {run.spark}.{budget} Made by spark-llm report."),
    )
