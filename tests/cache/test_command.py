import json
import subprocess
import sys
import time

import pytest
from cache_files import CALL, DAY_S, NOW_S, OTHER_CALL
from pyarrow import fs

from spark_llm import cli
from spark_llm.cache.compact import compact
from spark_llm.cache.layout import Cache
from spark_llm.cache.text import size
from spark_llm.cache.trim import trim


@pytest.fixture
def run(folder, capsys, monkeypatch):
    """Runs an action on the folder at the test's time and returns status, output and error."""
    monkeypatch.setattr(time, "time", lambda: NOW_S)

    def run(action, *arguments, at=None):
        status = cli.main(["cache", action, str(at or folder.path), *map(str, arguments)])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def test_stats_prints_and_writes_the_same_figures(run, folder, tmp_path):
    folder.write([(number, 3 * DAY_S) for number in range(1200)])
    folder.write([(1, DAY_S)])
    folder.write([(1, DAY_S)], call=OTHER_CALL)
    status, out, err = run("stats", "--json", tmp_path / "f.json")
    assert (status, err) == (0, "")
    data = json.loads((tmp_path / "f.json").read_text())
    lines = out.splitlines()
    assert lines[0] == f"{folder.path}: 2 calls"
    assert lines[1] == f"files    3, {size(data['size_bytes'])}; 2 small ones that compact would merge"
    assert lines[2] == "entries  1,202, 1,201 distinct keys"
    assert lines[3].startswith("saves    120,100 prompt tokens and 8,407 answer tokens")
    assert lines[5].split()[:3] == ["call", "model", "instruction"]
    assert lines[6].split()[:4] == [CALL[:8], "small", "abababab", "2"]
    assert lines[6].split()[-4:] == ["2027-01-12", "2027-01-14", "120,000", "8,400"]
    assert max(map(len, lines)) <= 130
    assert data["entries"] == 1202


def test_trim_says_what_it_did(run, folder):
    folder.write([(1, 40 * DAY_S)])
    folder.write([(2, 40 * DAY_S), (3, DAY_S)])
    assert run("trim", "--ttl", "30d")[1].splitlines()[:-1] == [
        "deleted    1 file past the ttl",
        "rewritten  1 file without the rows past the ttl",
        "expired    2 rows of these",
    ]
    (path,) = folder.files()
    folder.age(path, 60)
    out = run("trim", "--max-size", "1k", "--grace", "1h")[1]
    left = size(path.stat().st_size)
    assert out == (
        "nothing to trim\n"
        f"left       1 file, {left}: more than 1.0 KiB, the rest is younger than the grace time\n"
        "untouched  1 file younger than the grace time\n"
    )
    assert run("trim", "--max-size", "0", "--grace", "1s")[1] == (
        "deleted    1 file above the size, 1 row\nleft       0 files, 0 bytes\n"
    )


def test_compact_says_what_it_did(run, folder):
    for _ in range(3):
        folder.write([(1, DAY_S)])
    out = run("compact")[1]
    assert out.startswith("merged     3 files, ")
    assert out.endswith("left out   2 rows of keys that have a newer one\n")
    assert run("compact")[1] == "nothing to merge\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trim", "d", "--ttl", "soon"], "'soon': expected a time such as"),
        (["trim", "d", "--max-size", "10x"], "'10x': expected a size such as"),
        (["compact", "d", "--grace", "-1h"], "expected one argument"),
        (["stats"], "DIR"),
        ([], "ACTION"),
    ],
)
def test_a_wrong_command_line_says_what_is_expected(arguments, said, capsys):
    with pytest.raises(SystemExit) as raised:
        cli.main(["cache", *arguments])
    assert raised.value.code == 2
    assert said in capsys.readouterr().err


def test_what_is_no_cache_is_refused(run, tmp_path):
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "b.txt").touch()
    (plain / "a.txt").touch()
    for at, reason in (
        (tmp_path / "none", "it does not exist"),
        (plain / "a.txt", "it is a file"),
        (plain, "it holds no folder call=…, but a.txt"),
        ("nofs://x/y", "nofs"),
    ):
        for action in ("stats", "trim", "compact"):
            status, out, err = run(action, at=at)
            assert (status, out) == (2, "")
            assert err.startswith(f"[LLM_CACHE_NOT_FOUND] There is no response cache in {at}: ")
            assert reason in err
            assert "spark.llm.cache.dir" in err


def test_an_empty_folder_is_an_empty_cache(run, tmp_path):
    assert run("compact", at=tmp_path) == (0, "nothing to merge\n", "")
    assert run("trim", "--ttl", "1d", at=tmp_path)[0] == 0
    out = run("stats", at=tmp_path)[1]
    assert out.splitlines()[1:3] == ["files    0, 0 bytes", "entries  0, 0 distinct keys"]


def test_a_file_that_cannot_be_written_is_told(run, folder, tmp_path):
    folder.write([(1, DAY_S)])
    status, _, err = run("stats", "--json", tmp_path / "no" / "f.json")
    assert status == 2
    assert err.startswith("[LLM_FILE_NOT_WRITTEN]")


@pytest.mark.parametrize("form", ["file://{}", "file:{}", "{}/"])
def test_a_uri_is_a_folder_too(run, folder, form):
    folder.write([(1, DAY_S)])
    assert "entries  1, 1 distinct keys" in run("stats", at=form.format(folder.path))[1]


@pytest.mark.parametrize("root", ["cache", ""])
def test_any_pyarrow_file_system_will_do(folder, root):
    for number in range(3):
        folder.write([(number, DAY_S), (9, 40 * DAY_S)])
    base = folder.path.parent if root else folder.path
    cache = Cache(fs.SubTreeFileSystem(str(base), fs.LocalFileSystem()), root, "elsewhere://cache")
    assert trim(cache, NOW_S, 30 * DAY_S, None, 0.0).rewritten_files == 3
    assert compact(cache, time.time() + 1, 0.0).new_files == 1
    assert folder.rows() == [(number, DAY_S) for number in range(3)]


def test_the_command_line_starts_without_pyarrow():
    script = "import sys, spark_llm.cli as c; c.parser(); sys.exit('pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
