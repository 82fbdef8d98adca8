"""The verb `spark-llm cache`: its actions and their arguments."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from spark_llm.conf_entry import Entry
from spark_llm.errors import SparkLLMError

if TYPE_CHECKING:
    from spark_llm.conf_entry import Kind


def duration_s(text: str) -> float:
    """Returns the seconds of ``30d``, as in the configuration, for argparse."""
    return float(_parsed("duration", text))


def size_bytes(text: str) -> int:
    """Returns the bytes of ``10g``, as in the configuration, for argparse."""
    return int(_parsed("bytes", text))


def _parsed(kind: Kind, text: str) -> float:
    entry = Entry(key="argument", kind=kind, default=None, doc="")
    try:
        value: float = entry.parse(text)
    except SparkLLMError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected {entry.expected()}") from None
    return value


def add_arguments(verb: argparse.ArgumentParser) -> None:
    """Adds the actions and their arguments."""
    actions = verb.add_subparsers(dest="action", required=True, metavar="ACTION")
    stats = actions.add_parser(
        "stats",
        help="what is in the cache, per call",
        description="Shows files, entries and the tokens they save, per call.",
    )
    trim = actions.add_parser(
        "trim",
        help="delete old answers, then the oldest files until the rest fits",
        description="Deletes answers older than --ttl, then the oldest files until the rest fits --max-size, "
        "and hidden files left behind for more than a day. Safe while queries read and write.",
    )
    compact = actions.add_parser(
        "compact",
        help="merge small files, the newest answer of each question",
        description="Merges the small files of each call into files of some 128 MiB, with one row per key, "
        "the newest. Safe while queries read and write.",
    )
    for action in (stats, trim, compact):
        action.add_argument(
            "dir", metavar="DIR", help="the folder spark.llm.cache.dir: a local path, or a URI such as s3://…"
        )
    stats.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    trim.add_argument(
        "--ttl", type=duration_s, metavar="TIME", help="older answers go, such as 30d (default: none)"
    )
    trim.add_argument(
        "--max-size",
        type=size_bytes,
        metavar="SIZE",
        help="the oldest files go above it, such as 10g (default: none)",
    )
    for action in (trim, compact):
        action.add_argument(
            "--grace", type=duration_s, default=3600.0, metavar="TIME",
            help="files younger than this stay as they are (default 1h)",
        )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Does what was asked and says what was done; returns the exit status.

    Raises:
        SparkLLMError: it cannot be done.
    """
    print(_run(options, time.time()), end="")
    return 0


def _run(options: argparse.Namespace, now_s: float) -> str:
    from spark_llm.cache import text
    from spark_llm.cache.compact import compact
    from spark_llm.cache.open import open_cache
    from spark_llm.cache.stats import stats
    from spark_llm.cache.trim import trim

    cache = open_cache(options.dir)
    if options.action == "trim":
        report = trim(cache, now_s, options.ttl, options.max_size, options.grace)
        return text.trim_text(report, limit_bytes=options.max_size)
    if options.action == "compact":
        return text.compact_text(compact(cache, now_s, options.grace))
    found = stats(cache, now_s)
    if options.json:
        figures = json.dumps(found.data(), indent=1, ensure_ascii=False) + "\n"
        try:
            options.json.write_text(figures, encoding="utf-8")
        except OSError as error:
            raise SparkLLMError(
                "LLM_FILE_NOT_WRITTEN", file=options.json, reason=error.strerror or error
            ) from error
    return text.stats_text(found)
