import sys

import pytest

from spark_llm import session
from spark_llm.errors import SparkLLMError


class Builder:
    """What `configure` needs of SparkSession.Builder."""

    def __init__(self, **options):
        self._options = {key.replace("_", "."): value for key, value in options.items()}

    def config(self, key, value):
        self._options[key] = value
        return self


@pytest.fixture(autouse=True)
def _a_fresh_process(monkeypatch):
    for name in (
        "PYSPARK_PYTHON",
        "PYSPARK_DRIVER_PYTHON",
        "PYSPARK_GATEWAY_PORT",
        "SPARK_HOME",
        "SPARK_REMOTE",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(session, "jar_path", lambda version=None: "/x/our.jar")
    monkeypatch.setattr(session, "_refuse_running_session", lambda: None)


def test_the_two_entries_and_the_settings_are_added():
    options = session.configure(Builder(), model="m", engine_kind="fake", dedup_enabled=False)._options
    assert options == {
        "spark.jars": "/x/our.jar",
        "spark.plugins": session.PLUGIN,
        "spark.pyspark.python": sys.executable,
        "spark.llm.model": "m",
        "spark.llm.engine.kind": "fake",
        "spark.llm.dedup.enabled": "false",
    }


def test_what_the_builder_has_is_kept_and_nothing_is_added_twice():
    builder = Builder(spark_jars="/a.jar,/b.jar", spark_plugins="com.example.Plugin")
    for _ in range(2):
        session.configure(builder)
    assert builder._options["spark.jars"] == "/a.jar,/b.jar,/x/our.jar"
    assert builder._options["spark.plugins"] == f"com.example.Plugin,{session.PLUGIN}"


def test_what_spark_defaults_say_is_kept(monkeypatch, tmp_path):
    (tmp_path / "spark-defaults.conf").write_text(
        "spark.jars /x/other.jar\nspark.plugins=com.example.Plugin\n"
    )
    monkeypatch.setenv("SPARK_CONF_DIR", str(tmp_path))
    options = session.configure(Builder())._options
    assert options["spark.jars"] == "/x/other.jar,/x/our.jar"
    assert options["spark.plugins"] == f"com.example.Plugin,{session.PLUGIN}"


def test_whole_keys_are_taken():
    options = session.configure(Builder(), **{"spark.llm.models.s.path": "/m"})._options
    assert options["spark.llm.models.s.path"] == "/m"


@pytest.mark.parametrize(
    ("options", "environ"),
    [
        ({"spark_master": "yarn"}, {}),
        ({"spark_pyspark_python": "python3.12"}, {}),
        ({}, {"PYSPARK_PYTHON": "python3.12"}),
        ({}, {"PYSPARK_GATEWAY_PORT": "1"}),
    ],
)
def test_the_workers_interpreter_is_left_alone_where_it_is_chosen_or_remote(monkeypatch, options, environ):
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert session.configure(Builder(**options))._options.get("spark.pyspark.python") != sys.executable


@pytest.mark.parametrize(
    ("conf", "condition"),
    [({"engin_kind": "fake"}, "LLM_UNKNOWN_CONF"), ({"engine_kind": "fakes"}, "LLM_INVALID_CONF")],
)
def test_wrong_settings_are_told_before_anything_starts(conf, condition):
    builder = Builder()
    with pytest.raises(SparkLLMError, match=condition):
        session.configure(builder, **conf)
    assert builder._options == {}


def test_a_remote_server_is_told_what_it_needs():
    with pytest.raises(SparkLLMError, match=f"--jars /x/our.jar .*{session.PLUGIN}"):
        session.configure(Builder(spark_remote="sc://host:15002"))


@pytest.mark.parametrize(
    ("options", "beat"),
    [
        ({"spark_master": "local[2]"}, "2s"),
        ({"spark_master": "yarn"}, None),
        ({}, None),
        ({"spark_master": "local[2]", "spark_executor_heartbeatInterval": "7s"}, "7s"),
    ],
)
def test_a_local_session_tells_its_counts_often_enough_for_the_progress_line(options, beat):
    assert session.configure(Builder(**options))._options.get("spark.executor.heartbeatInterval") == beat


def test_progress_is_drawn_where_somebody_looks_or_asks_for_it(monkeypatch):
    from spark_llm.progress import follow

    started = []
    # a lambda becomes a method, which list.append does not
    monkeypatch.setattr(follow.Watcher, "start", lambda self: started.append(self))  # noqa: PLW0108
    monkeypatch.setattr(follow, "_running", [])
    session.configure(Builder())
    session.configure(Builder(), progress_enabled="false")
    assert started == []  # a test's standard error is no terminal
    session.configure(Builder(), progress_enabled=True)
    assert len(started) == 1
    monkeypatch.setattr(follow, "seen", lambda: True)
    session.configure(Builder())
    assert len(started) == 2
