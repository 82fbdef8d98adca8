"""Runs the commands of docs/ways-in as a user would, in a folder that stands for the project's root.

docs/ways-in/PAGE.md ── ```sh blocks ──► bash, cwd = stand-in root (sql_examples, conf, jars: links)
                                          environment: nothing of Spark's or Python's but what is set here
                                          workers' interpreter: has Spark's packages, NOT this one
event log ◄── requests asked, per executor
afterwards: no process may be left that carries this test's mark
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pyspark
import pytest

from spark_llm.catalyst.build import ensure_jar
from spark_llm.catalyst.java import find_java

ROOT = Path(__file__).parents[2]
SPARK_HOME = Path(pyspark.__file__).parent
MARK = "SPARK_LLM_WAYS_IN"
TIMEOUT_S = 300

# What a test wants and a user's command need not say. JVMs read it from the environment, executors' too.
_JAVA_OPTIONS = (
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-Dspark.ui.enabled=false",
    "-Dspark.sql.shuffle.partitions=2",
    "-Dspark.sql.catalogImplementation=in-memory",
    "-Dspark.eventLog.enabled=true",
    "-Dspark.eventLog.compress=false",
    "-Dspark.eventLog.rolling.enabled=false",
)


@dataclass
class Place:
    """The stand-in root, and what runs there.

    Attributes:
        root: where the commands run.
        env: the commands' whole environment.
    """

    root: Path
    env: dict[str, str]
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    def run(self, command: str, timeout_s: float = TIMEOUT_S) -> str:
        """Runs a bash command and returns its stdout; fails with all it said when it does."""
        # Files, not pipes: a daemon that a command leaves running would keep a pipe open.
        said, complained = self.root / "stdout", self.root / "stderr"
        with said.open("w") as out, complained.open("w") as err:
            started = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", command],
                cwd=self.root,
                env={**self.env, MARK: self.mark},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
            try:
                status = started.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.end_all()
                started.wait()
                pytest.fail(f"not done after {timeout_s} s:\n{command}\n{complained.read_text()[-6000:]}")
        wrong = f"exit status {status} of:\n{command}\n{said.read_text()[-3000:]}\n{complained.read_text()[-6000:]}"
        assert status == 0, wrong
        return said.read_text()

    def requests(self) -> Counter[str]:
        """Requests that calls asked, by executor, of all applications since the last time."""
        asked: Counter[str] = Counter()
        for log in (self.root / "events").iterdir():
            for line in log.read_text().splitlines():
                event = json.loads(line)
                if event["Event"] == "SparkListenerTaskEnd":
                    asked[event["Task Info"]["Executor ID"]] += sum(
                        int(update["Update"])
                        for update in event["Task Info"]["Accumulables"]
                        if update["Name"] == "requests"
                    )
            log.unlink()
        return asked

    def processes(self) -> list[int]:
        """Ids of processes that a command of this test started, and theirs."""
        mark = f"{MARK}={self.mark}".encode()
        found = []
        for proc in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (proc / "environ").read_bytes():
                    found.append(int(proc.name))
            except OSError:
                continue  # it has ended, or is not ours
        return found

    def await_end(self, limit_s: float = 20) -> list[int]:
        """Processes that are still there after ``limit_s``."""
        deadline = time.monotonic() + limit_s
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.2)
        return left

    def end_all(self) -> None:
        """Ends everything a test may have left."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def jar() -> Path:
    return ensure_jar()


@pytest.fixture(scope="session")
def worker_python(tmp_path_factory) -> Path:
    """An interpreter with all packages of this environment except this very one: workers have it from the jar."""
    venv = tmp_path_factory.mktemp("workers") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    site = next(venv.glob("lib/python*/site-packages"))
    # A path file's lines are not searched for path files in turn, so the editable install stays behind.
    (site / "packages.pth").write_text(f"{SPARK_HOME.parent}\n")
    code = "import pyspark, pyarrow, importlib.util as u, sys; sys.exit(u.find_spec('spark_llm') is not None)"
    done = subprocess.run([venv / "bin/python", "-c", code], cwd=venv, env={}, check=False)
    if done.returncode:
        pytest.skip("this package is not installed as editable: workers cannot be kept from seeing it")
    return venv / "bin/python"


@pytest.fixture
def place(tmp_path, jar, worker_python):
    root = tmp_path / "root"
    for folder in ("events", "spark-conf", "spark_llm", "conf"):
        (root / folder).mkdir(parents=True)
    (root / "sql_examples").symlink_to(ROOT / "sql_examples")
    (root / "spark_llm" / "jars").symlink_to(jar.parent)
    for file in ("standalone", "spark-defaults.conf.template", "gpus.sh"):
        (root / "conf" / file).symlink_to(ROOT / "conf" / file)
    minor = ".".join(pyspark.__version__.split(".")[:2])
    defaults = (ROOT / "conf" / "spark-defaults.conf").read_text().replace("spark4.3", f"spark{minor}")
    (root / "conf" / "spark-defaults.conf").write_text(defaults)
    env = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "JAVA_HOME": str(find_java().home),
        "JAVA_TOOL_OPTIONS": " ".join([*_JAVA_OPTIONS, f"-Dspark.eventLog.dir=file:{root}/events"]),
        "MASTER": "local[2]",
        "SPARK_HOME": str(SPARK_HOME),
        "SPARK_CONF_DIR": str(root / "spark-conf"),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_LOG_DIR": str(root / "logs"),
        "SPARK_PID_DIR": str(root / "pids"),
        "SPARK_DRIVER_MEMORY": "700m",
        "PYSPARK_PYTHON": str(worker_python),
        "PYSPARK_DRIVER_PYTHON": sys.executable,
    }
    place = Place(root, env)
    yield place
    left = place.await_end()
    place.end_all()
    assert not left, f"processes left behind, ended now: {left}"


@pytest.fixture(scope="session")
def blocks():
    """The shell blocks of a page of docs/ways-in, in order."""

    def of(page: str) -> list[str]:
        text = (ROOT / "docs" / "ways-in" / f"{page}.md").read_text()
        return re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)

    return of


@pytest.fixture
def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="session")
def golden() -> list[tuple[str, ...]]:
    """What every way in must answer: equal questions to an equal table."""
    return _rows((Path(__file__).parent / "golden" / "answers.tsv").read_text())


@pytest.fixture(scope="session")
def rows():
    return _rows


def _rows(text: str) -> list[tuple[str, ...]]:
    return [tuple(line.split("\t")) for line in text.splitlines() if "\t" in line]
