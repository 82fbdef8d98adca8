"""The files of conf/: every entry of ours exists and parses, and the GPU script says what Spark reads."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from spark_llm.conf import parse_conf
from spark_llm.session import PLUGIN

CONF = Path(__file__).parents[2] / "conf"
FILES = ["spark-defaults.conf", "spark-defaults.conf.template", "gpu-cluster.conf"]


def entries(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return dict(re.split(r"\s+", line.strip(), maxsplit=1) for line in lines)


@pytest.mark.parametrize("file", FILES)
def test_every_entry_is_known(file):
    text = (CONF / file).read_text()
    found = entries(text)
    assert found["spark.plugins"] == PLUGIN
    proposed = entries(re.sub(r"^# (?=spark\.\S+ {2,})", "", text, flags=re.MULTILINE))
    assert proposed.keys() >= found.keys()
    parse_conf({key: value for key, value in proposed.items() if key.startswith("spark.llm.")})


def test_tasks_of_an_executor_fill_its_gpu():
    found = entries((CONF / "gpu-cluster.conf").read_text())
    tasks = int(found["spark.executor.cores"])
    assert tasks * float(found["spark.task.resource.gpu.amount"]) == float(
        found["spark.executor.resource.gpu.amount"]
    )


@pytest.mark.parametrize(("listed", "addresses"), [("0\n1\n", ["0", "1"]), ("0\n", ["0"]), ("", [])])
def test_gpu_script(tmp_path, listed, addresses):
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\nprintf '{listed}'\n".replace("\n'", "\\n'"))
    tool.chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([CONF / "gpus.sh"], env=env, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"name": "gpu", "addresses": addresses}
