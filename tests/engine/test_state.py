from __future__ import annotations

import io
import json
import resource
import stat

import pytest

from spark_llm.engine.model_path import model_argument
from spark_llm.engine.place import Place
from spark_llm.engine.plugin_path import python_path
from spark_llm.engine.process import tail
from spark_llm.engine.state import EngineState, publish, read_state

READY = EngineState("ready", "/run/s", "/run/log", "m", 7, starts=2)


def test_round_trip_and_line(tmp_path):
    out = io.StringIO()
    publish(READY, tmp_path / "state.json", out)
    assert read_state(tmp_path / "state.json") == READY
    assert json.loads(out.getvalue())["state"] == "ready"
    assert stat.S_IMODE((tmp_path / "state.json").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


def test_a_reader_that_is_gone_does_not_matter(tmp_path):
    class Broken(io.StringIO):
        def flush(self):
            raise BrokenPipeError

    publish(READY, tmp_path / "state.json", Broken())
    assert read_state(tmp_path / "state.json") == READY


@pytest.mark.reliability(
    "a full disk where the engine's state is kept", "workers ask the engine itself; it goes on"
)
def test_a_full_disk_leaves_no_lie(tmp_path):
    """No room for state.json -> the old one is gone, the JVM is told, nothing is raised."""
    publish(READY, tmp_path / "state.json", io.StringIO())
    out, before = io.StringIO(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        publish(EngineState("restarting", "/run/s", "/run/log", "m"), tmp_path / "state.json", out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert read_state(tmp_path / "state.json") is None
    assert list(tmp_path.iterdir()) == []
    assert json.loads(out.getvalue())["state"] == "restarting"


def test_no_state_yet_and_entries_of_a_later_release(tmp_path):
    assert read_state(tmp_path / "state.json") is None
    (tmp_path / "state.json").write_text(READY.line().replace("{", '{"new": 1, ', 1))
    assert read_state(tmp_path / "state.json") == READY


def test_the_failure_keeps_condition_and_parameters():
    params = {"model": "m", "known": "a"}
    failed = EngineState("failed", "s", "l", "m", None, "LLM_MODEL_NOT_FOUND", "text", params)
    assert failed.error().condition == "LLM_MODEL_NOT_FOUND"
    assert failed.error().params == params
    assert EngineState("stopped", "s", "l", "m").error().condition == "LLM_ENGINE_FAILED"


def test_tail(tmp_path):
    log = tmp_path / "log"
    assert tail(log) == ""
    log.write_text("".join(f"line {n}\n" for n in range(5000)))
    assert tail(log, 3).splitlines() == ["line 4997", "line 4998", "line 4999"]
    log.write_text("x" * 100_000)
    assert len(tail(log)) == 4000


def test_model_argument(tmp_path, monkeypatch):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert model_argument("m") == str(tmp_path / "m")
    assert model_argument("./m") == str(tmp_path / "m")
    assert model_argument("org/name") == "org/name"


def test_logs_of_engines_with_one_log_dir_have_different_names(tmp_path):
    logs = {Place.of(tmp_path / f"app-{n}" / "engine", str(tmp_path)).log for n in range(3)}
    assert len(logs) == 3


def test_an_entry_point_is_written_when_none_is_installed(tmp_path, monkeypatch):
    from importlib.metadata import distributions

    monkeypatch.setattr("spark_llm.engine.plugin_path.entry_points", lambda **_: ())
    path = python_path(tmp_path, {"PYTHONPATH": "/a:/b"}).split(":")
    assert path[1] == str(tmp_path / "plugins")
    assert path[-2:] == ["/a", "/b"]
    (found,) = distributions(path=[path[1]])
    assert [(point.group, point.name) for point in found.entry_points] == [
        ("vllm.endpoint_plugins", "spark_llm_batch"),
        ("vllm.general_plugins", "spark_llm_memory"),
    ]


def test_no_entry_point_is_written_when_one_is_installed(tmp_path, monkeypatch):
    monkeypatch.setattr("spark_llm.engine.plugin_path.entry_points", lambda **_: (object(),))
    assert str(tmp_path) not in python_path(tmp_path, {})
