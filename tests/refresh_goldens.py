"""Writes the golden files again: what users read, kept where a review sees every change.

    python tests/refresh_goldens.py           writes tests/golden/*, docs/*.md and spark_llm/conf-entries.json
    python tests/refresh_goldens.py --spark   first those that need a Spark session (EXPLAIN)
    python tests/refresh_goldens.py --check   exits 1 and names the files that are stale

To add one: a function that returns its text, and a line in `GOLDENS`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[1]


def error_texts() -> str:
    """Every condition as users see it, its parameters shown by name."""
    from spark_llm.errors import SparkLLMError, conditions

    return "\n".join(str(SparkLLMError(name)) for name in sorted(conditions())) + "\n"


def configuration_page() -> str:
    """The reference page of the configuration."""
    from spark_llm.conf import docs_table

    return (
        "# Configuration\n\nMade from `spark_llm/conf_entries.py` by `make goldens`. Set an entry with `SET` in a session, or "
        "with `--conf` at the start.\nUnknown `spark.llm.*` keys are refused. Keys of credentials end in `.secret` and "
        "hold a reference, never a value.\n\n" + docs_table()
    )


def errors_page() -> str:
    """The reference page of the error conditions."""
    from spark_llm.errors import SparkLLMError, conditions

    lines = [
        "# Error conditions",
        "",
        "Made from `spark_llm/error-conditions.json` by `make goldens`. In PySpark, classic and Connect, `getCondition()` and",
        "`getSqlState()` of the exception give the first two columns; rows with `on_error => 'struct'` carry the condition.",
        "",
        "| Condition | SQLSTATE | Message | What to do |",
        "|---|---|---|---|",
    ]
    for name, entry in sorted(conditions().items()):
        error = SparkLLMError(name)
        cells = (name, error.sqlstate, error.message, entry.hint)
        lines.append("| " + " | ".join(c.replace("|", "\\|").replace("<", "&lt;") for c in cells) + " |")
    return "\n".join(lines) + "\n"


_FUNCTIONS = {"llm": "LLMFunction", "try_llm": "TryLLMFunction", "any_order": "AnyOrder"}


def describe_function(name: str) -> str:
    """What DESCRIBE FUNCTION EXTENDED says, put together from the Scala source as Spark does it.

    tests/spark/test_planning_errors.py holds Spark's own text against the same file.
    """
    source = (ROOT / f"spark_llm/catalyst/{_FUNCTIONS[name]}.scala").read_text(encoding="utf-8")
    blocks = r'private val (\w+) =\s+"""(.*?)"""(\.stripMargin)?'
    texts = {
        found[1]: (re.sub(r"(?m)^ *\|", "", found[2]) if found[3] else found[2]).replace("_FUNC_", name)
        for found in re.finditer(blocks, source, re.DOTALL)
    }
    (of,) = re.findall(r"classOf\[(\w+)\]\.getName, null, name, usage, arguments, examples, note,", source)
    (since,) = re.findall(r'"misc_funcs", "([^"]+)"', source)
    body = f"{texts['arguments']}{texts['examples']}\n    Note:\n      {texts['note'].strip()}\n"
    text = (
        f"Function: {name}\nClass: org.apache.spark.sql.llm.{of}\nUsage: {texts['usage']}\n"
        f"Extended Usage:{body}\n    Since: {since}\n"
    )
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def functions_page() -> str:
    """The reference page of the SQL functions: what DESCRIBE FUNCTION EXTENDED says."""
    page = (
        "# SQL functions\n\nMade from `DESCRIBE FUNCTION EXTENDED` by `make goldens`. The same functions for DataFrames are "
        "in `spark_llm.functions`.\n"
    )
    for name in _FUNCTIONS:
        page += f"\n## {name}\n\n```\n{describe_function(name).rstrip()}\n```\n"
    return page


def conf_entries() -> str:
    """The JVM's copy of the configuration table."""
    from spark_llm.conf import entries_json

    return entries_json()


def command_line_help() -> str:
    """What `spark-llm --help` and the help of its verbs say, 80 columns wide."""
    import argparse

    from spark_llm.cli import parser

    top = parser()
    verbs = next(action for action in top._actions if isinstance(action, argparse._SubParsersAction))
    cache = verbs.choices["cache"]
    actions = next(action for action in cache._actions if isinstance(action, argparse._SubParsersAction))
    pages = (
        top,
        *(verbs.choices[verb] for verb in ("doctor", "jar", "analyze", "report", "memory")),
        cache,
        *actions.choices.values(),
    )
    with patch.dict(os.environ, COLUMNS="80"):
        return "\n".join(page.format_help() for page in pages)


def _analysis() -> Any:
    """What the analyser finds in a small table: three films, four reviews each, one of them twice, a null."""
    import tempfile

    import pyarrow as pa
    import pyarrow.parquet as pq

    from spark_llm.analyze.analysis import Question, analyze
    from spark_llm.analyze.read import open_table
    from spark_llm.analyze.tokenizer import EstimatedTokenizer

    films = ["Alien", "Heat <1995>", "Ran"]
    texts = [f"A crew of {at} people & what became of them, told slowly and with care." for at in (7, 12, 3)]
    words = ["Loved it.", "Too long for me.", "Loved it.", None]
    table = pa.table(
        {
            "id": [10 * film + at for film in range(3) for at in (1, 2, 3, 4)],
            "review": [words[(film + at) % 4] for film in range(3) for at in range(4)],
            "film": [films[at] for at in (0, 1, 2) * 4],
            "about": [texts[at] for at in (0, 1, 2) * 4],
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "films.parquet"
        pq.write_table(table, path)
        question = Question("Is the review positive?", cache_tokens=4096)
        return analyze(open_table(path), question, EstimatedTokenizer())


def analyze_text() -> str:
    """What `spark-llm analyze` prints about a small table."""
    from spark_llm.analyze.text import text_report

    return text_report(_analysis())


def analyze_html() -> str:
    """The page that `spark-llm analyze --html` writes about it."""
    from spark_llm.analyze.html import html_report

    return html_report(_analysis())


def memory_text() -> str:
    """What `spark-llm memory` prints about windows, and about states with a table's lengths."""
    from spark_llm.jenga import text
    from spark_llm.jenga.hf_config import from_config
    from spark_llm.jenga.waste import Length

    sys.path.insert(0, str(ROOT / "benchmarks"))
    from model_configs import CONFIGS

    rows = (Length(323, requests=14_000), Length(1800, requests=1000))
    cases = {
        "gemma-3-27b": tuple((f"{at:,} tokens", (Length(at),)) for at in (512, 32768)),
        "qwen3-next-80b": (("movies.parquet: 15,000 rows, 421 tokens", rows),),
        "llama-3.1-8b": (("512 tokens", (Length(512),)),),
    }
    return "\n".join(
        text.memory_text(text.MemoryReport(name, from_config(CONFIGS[name]), of, 16 << 30, 16))
        for name, of in cases.items()
    )


def swap_text() -> str:
    """What EXPLAIN and the report say of host memory, engine by engine and job by job."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from pie import ENGINES, JOBS

    from spark_llm.pie.decide import Mode, decide

    lines = []
    for name, engine in ENGINES.items():
        lines += ["", name, f"    {'job not known':<36}{decide(engine).words()}"]
        lines += [f"    {job:<36}{decide(engine, facts).words()}" for job, facts in JOBS.items()]
    lines += ["", "as the settings ask", f"    {decide(engine, mode=Mode.OFF).words()}"]
    lines += [
        f"    {decide(engine, facts, Mode.LAYERS).words()}"
        for facts in (None, JOBS["documents, 4,000 → 400"])
    ]
    return "\n".join(lines[1:]) + "\n"


def run_report() -> str:
    """The page about a query, from fixed data with everything in it."""
    from spark_llm.report.html import html_report
    from spark_llm.report.read import parse_run

    sys.path.insert(0, str(ROOT / "tests/report"))
    from report_helpers import whole_run

    return html_report(parse_run(whole_run()))


GOLDENS: dict[str, Callable[[], str]] = {
    "tests/golden/error-texts.txt": error_texts,
    "docs/configuration.md": configuration_page,
    "docs/errors.md": errors_page,
    "docs/functions.md": functions_page,
    **{f"tests/golden/describe_function_{name}.txt": partial(describe_function, name) for name in _FUNCTIONS},
    "tests/golden/command-line.txt": command_line_help,
    "tests/golden/analyze.txt": analyze_text,
    "tests/golden/analyze.html": analyze_html,
    "tests/golden/memory.txt": memory_text,
    "tests/golden/swap.txt": swap_text,
    "tests/golden/run-report.html": run_report,
    "spark_llm/conf-entries.json": conf_entries,
}


def stale(root: Path = ROOT) -> list[str]:
    """Names the golden files that are not what the code says."""
    return [
        name
        for name, text in GOLDENS.items()
        if not (root / name).is_file() or (root / name).read_text(encoding="utf-8") != text()
    ]


def main(arguments: list[str]) -> int:
    """Writes stale files, or with --check only names them."""
    if arguments == ["--spark"]:
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            str(ROOT / "tests/spark"),
            "-k",
            "golden or explain",
        ]
        subprocess.run(command, env={**os.environ, "SPARK_LLM_REFRESH_GOLDENS": "1"}, check=True)
    names = stale()
    for name in names:
        if arguments == ["--check"]:
            print(f"stale: {name}; run python tests/refresh_goldens.py")
        else:
            (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / name).write_text(GOLDENS[name](), encoding="utf-8")
            print(f"written: {name}")
    return int(bool(names) and arguments == ["--check"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
