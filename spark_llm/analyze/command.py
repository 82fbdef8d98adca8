"""The verb `spark-llm analyze`: its arguments, and what it does with them."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from spark_llm.errors import SparkLLMError

if TYPE_CHECKING:
    from spark_llm.analyze.analysis import Question
    from spark_llm.analyze.read import Source

POLICIES: Final = ("default", "fixed", "tree", "ggr", "thorough", "original")
DEFAULT_INSTRUCTION: Final = "Summarize the record in one sentence."


def names(text: str) -> tuple[str, ...]:
    """Returns the names in ``a,b,c``."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def count(text: str) -> int:
    """Returns a number from 0 up, for argparse."""
    value = int(text.replace("_", "").replace(",", ""))
    if value < 0:
        raise ValueError(text)
    return value


def add_arguments(verb: argparse.ArgumentParser) -> None:
    """Adds the arguments of the verb."""
    verb.add_argument(
        "table",
        type=Path,
        metavar="TABLE",
        help="a Parquet file, a folder of them, or a CSV file with a header",
    )
    call = verb.add_argument_group("the call")
    call.add_argument(
        "--instruction",
        default=DEFAULT_INSTRUCTION,
        metavar="TEXT",
        help='what is asked (default "%(default)s")',
    )
    call.add_argument(
        "--fields", type=names, metavar="A,B", help="fields of the call, in order (default: all)"
    )
    call.add_argument(
        "--any-order", type=names, action="append", default=[], metavar="A,B",
        help="fields that are a set, such as retrieved passages: their values may change places; repeatable",
    )  # fmt: skip
    call.add_argument("--first", type=names, default=(), metavar="A,B", help="fields that stay first")
    call.add_argument("--last", type=names, default=(), metavar="A,B", help="fields that stay last")
    plan = verb.add_argument_group("the plan and the engine")
    plan.add_argument("--policy", choices=POLICIES, default="default", help="as spark.llm.planner.policy")
    plan.add_argument(
        "--in-flight", type=count, default=0, metavar="N",
        help="requests that the engine prefills together without sharing among them (default 0)",
    )  # fmt: skip
    plan.add_argument(
        "--cache-tokens", type=count, default=40_000, metavar="N",
        help="size of the prefix cache, 0 for unlimited (default 40000)",
    )  # fmt: skip
    plan.add_argument(
        "--block-tokens", type=count, default=16, metavar="N", help="tokens per block of it (default 16)"
    )
    plan.add_argument(
        "--tokenizer", type=Path, metavar="FILE",
        help="tokenizer.json of the model, for exact counts (default: an estimate)",
    )  # fmt: skip
    plan.add_argument(
        "--chunk-rows", type=count, metavar="N",
        help="rows that are planned together (default 1000000, fewer where rows are large)",
    )  # fmt: skip
    out = verb.add_argument_group("results")
    out.add_argument("--html", type=Path, metavar="FILE", help="write the report as one self-contained page")
    out.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    out.add_argument(
        "--plan", type=Path, metavar="FILE",
        help="write the plan as Parquet: row and fields of each request, in order",
    )  # fmt: skip
    out.add_argument("--dedup", action="store_true", help="ask equal rows once in the plan")
    out.add_argument(
        "--table", dest="out_table", type=Path, metavar="FILE",
        help="write the table as the model sees it; with --any-order the plan refers to it",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Analyses, prints and writes; returns the exit status.

    Raises:
        SparkLLMError: the input is no good.
    """
    from spark_llm.analyze.analysis import analyze
    from spark_llm.analyze.plan import PlanWriter
    from spark_llm.analyze.read import open_table
    from spark_llm.analyze.text import text_report
    from spark_llm.analyze.tokenizer import EstimatedTokenizer, FileTokenizer

    source = open_table(options.table, options.fields)
    question = checked_question(options, source)
    for path in (options.html, options.json, options.plan, options.out_table):
        if path and not path.parent.is_dir():
            # known before a long analysis, not after it
            raise SparkLLMError("LLM_FILE_NOT_WRITTEN", file=path, reason=f"there is no folder {path.parent}")
    if options.chunk_rows == 0:
        raise SparkLLMError("LLM_INVALID_ARGUMENT", argument="--chunk-rows", value=0, expected="at least 1")
    if sys.stderr.isatty():
        print(
            f"planning {source.rows:,} rows; the first run on a machine compiles the planner", file=sys.stderr
        )
    tokenizer = FileTokenizer(options.tokenizer) if options.tokenizer else EstimatedTokenizer()
    with PlanWriter(options.plan, options.out_table, distinct=options.dedup) as writer:
        analysis = analyze(source, question, tokenizer, writer.add, options.chunk_rows)
    print(text_report(analysis), end="")
    if options.json:
        write(options.json, json.dumps(analysis.data(), indent=1, ensure_ascii=False) + "\n")
    if options.html:
        from spark_llm.analyze.html import html_report

        write(options.html, html_report(analysis))
    written: list[tuple[str, Any]] = [
        ("plan", options.plan),
        ("table", options.out_table),
        ("figures", options.json),
        ("report", options.html),
    ]
    lines = [f"{what:<8}{path}" for what, path in written if path]
    if lines:
        print("\n" + "\n".join(lines))
    return 0


def checked_question(options: argparse.Namespace, source: Source) -> Question:
    """Returns the question that the arguments describe.

    Raises:
        SparkLLMError: LLM_FIELD_NOT_FOUND or LLM_INVALID_ARGUMENT.
    """
    from spark_llm.analyze.analysis import Question
    from spark_llm.analyze.read import check_fields

    def refuse(argument: str, value: object, expected: str) -> SparkLLMError:
        return SparkLLMError("LLM_INVALID_ARGUMENT", argument=argument, value=value, expected=expected)

    sets, first, last = tuple(options.any_order), options.first, options.last
    grouped = [name for group in sets for name in group]
    for listed in (grouped, list(first), list(last)):
        check_fields(source.path, listed, source.fields)
    for group in sets:
        if len(group) < 2:
            raise refuse("--any-order", ",".join(group) or "(none)", "two or more fields")
    for name in [*first, *last]:
        if name in last and name in first:
            raise refuse("--first", name, "a field that is not in --last")
        if name in grouped:
            raise refuse("--any-order", name, "fields that are not in --first or --last")
    if options.block_tokens < 1:
        raise refuse("--block-tokens", options.block_tokens, "at least 1")
    return Question(
        options.instruction, sets, first, last, options.policy, options.in_flight, options.cache_tokens,
        options.block_tokens,
    )  # fmt: skip


def write(path: Path, text: str) -> None:
    """Writes a text file.

    Raises:
        SparkLLMError: LLM_FILE_NOT_WRITTEN.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SparkLLMError("LLM_FILE_NOT_WRITTEN", file=path, reason=error.strerror or error) from error
