"""The command `spark-llm`."""

from __future__ import annotations

import argparse
import os
import runpy
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Final

from spark_llm.analyze.command import add_arguments
from spark_llm.cache.command import add_arguments as add_cache_arguments
from spark_llm.costmodel.command import add_arguments as add_profile_arguments
from spark_llm.errors import SparkLLMError
from spark_llm.jenga.command import add_arguments as add_memory_arguments
from spark_llm.report.command import add_arguments as add_report_arguments
from spark_llm.spark_defaults import SettingError, read_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

# run(options) of each does the work; only the chosen one's imports are paid for.
COMMANDS: Final = {
    "analyze": "spark_llm.analyze.command",
    "report": "spark_llm.report.command",
    "cache": "spark_llm.cache.command",
    "profile": "spark_llm.costmodel.command",
    "memory": "spark_llm.jenga.command",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb and returns the exit status: 0 fine, 1 something is wrong, 2 the command line is."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["demo"]:
        # The demo's options are its own, --help included.
        return _demo(given[1:])
    chosen = parser().parse_args(given)
    if chosen.verb == "jar":
        return _jar()
    if chosen.verb == "doctor":
        return _doctor(chosen.conf, start_engine=chosen.engine)
    try:
        return int(import_module(COMMANDS[chosen.verb]).run(chosen))
    except (SparkLLMError, SettingError) as error:
        print(error, file=sys.stderr)
        return 2


def parser() -> argparse.ArgumentParser:
    """The command line; its help is the reference."""
    top = argparse.ArgumentParser(
        prog="spark-llm",
        description="LLM calls in Spark SQL: checks, jar, demo, prefix analyser, run report, response cache, "
        "engine profile, KV memory.",
    )
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    doctor = verbs.add_parser(
        "doctor",
        help="check this machine and its settings, one line a check",
        description="Checks this machine and the settings a query would run with. Prints one line a check: "
        "ok, FAIL with the way out, or skip. Exits 1 when anything failed. "
        "Reads SPARK_CONF_DIR/spark-defaults.conf.",
    )
    doctor.add_argument(
        "--conf",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting, as for spark-submit; repeatable",
    )
    doctor.add_argument(
        "--engine",
        action="store_true",
        help="really start the vLLM engine with the model, then end it (a minute)",
    )
    verbs.add_parser(
        "jar",
        help="print the path of the jar for the installed Spark, built first where needed",
        description="Prints the path of the jar for the installed Spark, built first where needed: "
        'spark-sql --jars "$(spark-llm jar)"',
    )
    add_arguments(
        verbs.add_parser(
            "analyze",
            help="show how much of a table's prompts a prefix cache can reuse, without a model",
            description="Shows how much of a table's prompts a prefix cache can reuse: as written, in one "
            "fixed field order, and in the planned order. Needs neither a model nor a GPU.",
        )
    )
    add_report_arguments(
        verbs.add_parser(
            "report",
            help="make the page of a query from the data in spark.llm.report.dir",
            description="Makes the page of a query from the data that its driver wrote. With "
            "spark.llm.report.dir the driver does so itself when the query ends.",
        )
    )
    add_cache_arguments(
        verbs.add_parser(
            "cache",
            help="look at, trim and compact the response cache",
            description="Looks at the response cache in a folder, trims it and compacts it.",
        )
    )
    add_profile_arguments(
        verbs.add_parser(
            "profile",
            help="measure what a step of the engine costs, for speculation and simulation",
            description="Measures what a step of the engine costs, by batches of many shapes, and fits the "
            "cost model to it. Takes a minute or two; nothing else should use the engine.",
        )
    )
    add_memory_arguments(
        verbs.add_parser(
            "memory",
            help="show what a request takes of a model's KV memory, and how many fit, without the model",
            description="Shows what a request takes of a model's KV memory and how many fit: with every "
            "layer keeping every token, in vLLM's own layout, and in Jenga's. Needs only its config.json.",
        )
    )
    verbs.add_parser(
        "demo", help="run the demo: example data, a small model on this machine, queries and what they cost"
    )
    return top


def _doctor(conf: Sequence[str], *, start_engine: bool) -> int:
    from spark_llm.doctor.host import Host
    from spark_llm.doctor.run import examine, summary

    try:
        settings = read_settings(conf, os.environ)
    except SettingError as error:
        print(error, file=sys.stderr)
        return 2
    checks = []
    for check in examine(Host(), settings, start_engine=start_engine):
        print(check.line(), flush=True)
        checks.append(check)
    print(summary(checks))
    return 1 if any(check.status == "FAIL" for check in checks) else 0


def _jar() -> int:
    from spark_llm.catalyst.build import main as build

    return build([])


def _demo(arguments: Sequence[str]) -> int:
    sys.argv = ["spark-llm demo", *arguments]
    runpy.run_module("spark_llm.demo.run", run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
