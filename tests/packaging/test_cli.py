from pathlib import Path

from spark_llm import cli
from spark_llm.doctor import host


def test_doctor_prints_lines_and_exits_1_when_one_failed(capsys, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    from fake_host import FakeHost

    monkeypatch.setattr(host, "Host", FakeHost)
    assert cli.main(["doctor", "--conf", "spark.llm.engine.kind=fake"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "11 ok, 0 failed, 2 skipped"
    assert cli.main(["doctor", "--conf", "spark.llm.engine.kind=none"]) == 1
    assert "FAIL  conf" in capsys.readouterr().out
    assert cli.main(["doctor", "--conf", "nonsense"]) == 2
    assert capsys.readouterr().err == "--conf needs key=value, got 'nonsense'\n"


def test_jar_prints_the_path(capsys, monkeypatch):
    monkeypatch.setattr("spark_llm.catalyst.build.ensure_jar", lambda: Path("/opt/llm.jar"))
    assert cli.main(["jar"]) == 0
    assert capsys.readouterr().out == "/opt/llm.jar\n"


def test_demo_passes_its_arguments_on(capsys, monkeypatch):
    seen = []

    def run_module(name, **_):
        import sys

        seen.append((name, sys.argv))

    monkeypatch.setattr("sys.argv", ["spark-llm"])
    monkeypatch.setattr(cli.runpy, "run_module", run_module)
    assert cli.main(["demo", "--rows", "10"]) == 0
    assert seen == [("spark_llm.demo.run", ["spark-llm demo", "--rows", "10"])]
