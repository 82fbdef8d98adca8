"""``spark-llm report FILE.json``: the page of a query, from the data that the driver wrote."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from spark_llm.errors import SparkLLMError

if TYPE_CHECKING:
    from collections.abc import Sequence


def add_arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Adds the options to a parser."""
    parser.add_argument(
        "data", type=Path, metavar="FILE.json", help="data of a query, from spark.llm.report.dir"
    )
    parser.add_argument(
        "html",
        type=Path,
        nargs="?",
        metavar="FILE.html",
        help="the page to write; FILE.html beside FILE.json",
    )
    return parser


def run(options: argparse.Namespace) -> int:
    """Writes the page, prints its path; returns the exit status."""
    from spark_llm.report.html import html_report
    from spark_llm.report.read import read_run

    html: Path = options.html or options.data.with_suffix(".html")
    try:
        text = html_report(read_run(options.data))
        # In one step: a page that is there is whole.
        temporary = html.with_name(f".{html.name}.{os.getpid()}")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(html)
    except (OSError, ValueError, SparkLLMError) as error:
        print(error, file=sys.stderr)
        return 1
    print(html)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m spark_llm.report`: what the driver runs."""
    parser = argparse.ArgumentParser(prog="python -m spark_llm.report")
    return run(add_arguments(parser).parse_args(arguments))
