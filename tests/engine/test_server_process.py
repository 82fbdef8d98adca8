"""The supervisor as a real process, with a cheap stand-in for vLLM."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from spark_llm.engine.http_batch import HttpBatchClient
from spark_llm.engine.process import members

# Like vLLM: a leader that serves, and a child in the same group that outlives it when nobody cares.
LEADER = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time, signal; signal.signal(15, signal.SIG_IGN); time.sleep(600)"])
from spark_llm.engine.fake_server import main
main(["--uds", sys.argv[1]])
"""


@pytest.fixture
def with_child():
    return [sys.executable, "-c", LEADER]


def gone(group, within=10.0):
    end = time.monotonic() + within
    while members(group):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def test_ready_then_gone_at_the_end_of_stdin(supervisor, with_child):
    one = supervisor(command=with_child)
    ready = one.until("ready")
    assert len(members(ready["pid"])) == 3  # leader, child, watchdog
    assert stat.S_IMODE(Path(ready["socket"]).stat().st_mode) == 0o600
    assert stat.S_IMODE(one.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(Path(ready["log"]).stat().st_mode) == 0o600
    began = time.monotonic()
    one.end_stdin()
    assert one.process.wait(10) == 0
    assert time.monotonic() - began < 10
    assert not members(ready["pid"])
    assert json.loads((one.folder / "state.json").read_text())["state"] == "stopped"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_stop_it(supervisor, with_child, number):
    one = supervisor(command=with_child)
    ready = one.until("ready")
    one.process.send_signal(number)
    assert one.process.wait(10) == 0
    assert not members(ready["pid"])


def test_nothing_is_left_when_the_supervisor_itself_is_killed(supervisor, with_child):
    one = supervisor(command=with_child)
    ready = one.until("ready")
    one.process.kill()
    assert gone(ready["pid"])


def test_nothing_is_left_when_it_is_killed_while_the_engine_starts(supervisor):
    one = supervisor(command=[sys.executable, "-c", "import time; time.sleep(600)"])
    starting = one.until("starting")
    one.process.kill()
    assert gone(starting["pid"])


def test_a_killed_engine_is_started_again_without_its_old_child(supervisor, with_child):
    one = supervisor(command=with_child)
    first = one.until("ready")
    os.kill(first["pid"], signal.SIGKILL)
    seen = len(one.lines)
    again = one.until("restarting", after=seen)
    assert "SIGKILL" in again["message"]
    second = one.until("ready", after=seen)
    assert second["pid"] != first["pid"]
    assert not members(first["pid"])


def test_no_answer_is_lost_or_doubled_when_the_engine_is_killed(supervisor, fake_command, rows, sampling):
    one = supervisor(command=fake_command(delay=0.3))
    ready = one.until("ready")
    client = HttpBatchClient(ready["socket"], str(one.folder / "state.json"), 30.0, chunk=4)
    done = []
    future = client.submit(rows(64), sampling())
    future.add_done_callback(lambda _: done.append(1))
    time.sleep(0.15)
    os.kill(ready["pid"], signal.SIGKILL)
    answers = future.result(20)
    calm = client.submit(rows(64), sampling()).result(20)
    assert [answer.text for answer in answers] == [answer.text for answer in calm]
    assert len({answer.text for answer in answers}) == 64
    assert done == [1]
    client.close()


def test_an_engine_that_exits_fails_after_three_starts(supervisor):
    one = supervisor(command=[sys.executable, "-c", "raise SystemExit('no such thing')"])
    failed = one.until("failed")
    assert one.process.wait(5) == 1
    assert failed["starts"] == 3
    assert failed["condition"] == "LLM_ENGINE_FAILED"
    assert "no such thing" in failed["message"]
    assert failed["log"] in failed["message"]


def test_start_timeout(supervisor):
    conf = {"spark.llm.engine.startTimeout": "300ms"}
    one = supervisor(conf, command=[sys.executable, "-c", "import time; time.sleep(600)"])
    failed = one.until("failed")
    assert "did not answer within" in failed["message"]


def test_a_stale_socket_is_replaced(supervisor, fake_command, tmp_path):
    folder = tmp_path / "engine"
    folder.mkdir()
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(folder / "engine.sock"))
    dead.close()
    supervisor(command=fake_command(), folder=folder).until("ready")


def test_a_socket_in_use_is_a_failure(supervisor, fake_command, tmp_path):
    folder = tmp_path / "engine"
    folder.mkdir()
    live = socket.socket(socket.AF_UNIX)
    live.bind(str(folder / "engine.sock"))
    live.listen()
    failed = supervisor(command=fake_command(), folder=folder).until("failed")
    live.close()
    assert failed["condition"] == "LLM_ENGINE_FAILED"
    assert "listens at" in failed["message"]


def test_two_supervisors_do_not_share_a_folder(supervisor, fake_command):
    first = supervisor(command=fake_command())
    ready = first.until("ready")
    failed = supervisor(command=fake_command(), folder=first.folder).until("failed")
    assert "another supervisor" in failed["message"]
    assert json.loads((first.folder / "state.json").read_text())["state"] == "ready"
    assert members(ready["pid"])


def test_leftovers_of_a_former_supervisor_are_killed(supervisor, fake_command, tmp_path):
    folder = tmp_path / "engine"
    folder.mkdir()
    with (folder / "engine.log").open("wb") as log:
        orphan = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], stdout=log)
    threading.Thread(target=orphan.wait, daemon=True).start()
    supervisor(command=fake_command(), folder=folder).until("ready")
    assert orphan.wait(5) == -signal.SIGKILL


@pytest.mark.parametrize("model", ["/no/such/model", "./nothing", "~/nothing"])
def test_a_missing_model_path_is_told_before_anything_starts(supervisor, model):
    failed = supervisor({"spark.llm.model": model}).until("failed")
    assert failed["condition"] == "LLM_MODEL_NOT_FOUND"
    assert model in failed["message"]
    assert failed["starts"] == 0


def test_a_folder_without_a_model_is_told(supervisor, tmp_path):
    (tmp_path / "empty").mkdir()
    failed = supervisor({"spark.llm.model": str(tmp_path / "empty")}).until("failed")
    assert "no config.json" in failed["message"]


def test_a_bad_conf_is_told(supervisor):
    failed = supervisor({"spark.llm.engine.startTimeout": "soon"}).until("failed")
    assert failed["condition"] == "LLM_INVALID_CONF"


def test_a_path_too_long_for_a_socket_is_told(supervisor, tmp_path):
    failed = supervisor({}, folder=tmp_path / ("x" * 100)).until("failed")
    assert "longer than" in failed["message"]


def test_a_first_line_that_is_not_an_order_is_told():
    done = subprocess.run(
        [sys.executable, "-m", "spark_llm.engine.server"],
        input=b"hello\n",
        capture_output=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert done.returncode == 1
    assert json.loads(done.stdout)["condition"] == "LLM_ENGINE_FAILED"


def test_log_dir(supervisor, fake_command, tmp_path):
    one = supervisor({"spark.llm.engine.logDir": str(tmp_path / "logs")}, command=fake_command())
    ready = one.until("ready")
    assert Path(ready["log"]).parent == tmp_path / "logs"
    assert Path(ready["log"]).exists()


def test_it_works_from_a_zip(supervisor, fake_command, tmp_path):
    root = Path(__file__).parents[2]
    staged = tmp_path / "staged"
    shutil.copytree(
        root / "spark_llm", staged / "spark_llm", ignore=shutil.ignore_patterns("jars", "demo", "*.jar")
    )
    archive = shutil.make_archive(str(tmp_path / "half"), "zip", staged)
    supervisor(command=fake_command(), env={"PYTHONPATH": archive}).until("ready")
