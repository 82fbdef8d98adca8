"""``make demo``: writes the shop's tables, then runs the SQL examples with spark-submit on local[2].

tables.py ─► Parquet in a temporary folder ─► spark-submit app.py ─► answers and what they cost
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from spark_llm.catalyst.java import use_java
from spark_llm.demo.tables import write_parquet
from spark_llm.session import session_conf

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[2]
MODEL = Path(__file__).resolve().parent / "model"


def submit_command(app: Path, arguments: Sequence[str], settings: dict[str, str]) -> list[str]:
    """The spark-submit command line of an application on local[2]."""
    import pyspark

    submit = Path(pyspark.__file__).parent / "bin" / "spark-submit"
    confs = [word for key, value in settings.items() for word in ("--conf", f"{key}={value}")]
    return [str(submit), "--master", "local[2]", *confs, str(app), *arguments]


def demo_conf(model: Path = MODEL) -> dict[str, str]:
    """Settings of the demo: our jar and plug-in, the demo model, little noise."""
    return {
        **session_conf(),
        "spark.llm.model": str(model),
        "spark.llm.engine.maxModelLen": "2048",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "ERROR",
        "spark.sql.shuffle.partitions": "2",
        "spark.driver.memory": "2g",
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the demo; returns spark-submit's exit code."""
    parser = argparse.ArgumentParser(
        prog="spark-llm demo", description="Run the SQL examples on the demo model."
    )
    parser.add_argument("--rows", type=int, default=2000, help="rows of the generated tables (default 2000)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the generated tables (default 1)")
    parser.add_argument(
        "--data",
        type=Path,
        default=ROOT.parent / "shared" / "data",
        help="folder of real tables, where there is one",
    )
    parser.add_argument("--examples", type=Path, default=ROOT / "sql_examples", help="folder of .sql files")
    options = parser.parse_args(argv)
    if not (MODEL / "config.json").exists():
        print(f"The demo model is missing in {MODEL}; train it with: python -m spark_llm.demo.train")
        return 1
    use_java(os.environ)
    with tempfile.TemporaryDirectory(prefix="spark-llm-demo-") as folder:
        write_parquet(Path(folder), seed=options.seed, rows=options.rows, truth=True)
        arguments = [folder, str(options.examples)]
        if options.data.is_dir():
            arguments += ["--data", str(options.data)]
        command = submit_command(Path(__file__).with_name("app.py"), arguments, demo_conf())
        environ = {**os.environ, "PYSPARK_PYTHON": sys.executable, "PYTHONUNBUFFERED": "1"}
        return subprocess.run(command, env=environ, cwd=folder, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
