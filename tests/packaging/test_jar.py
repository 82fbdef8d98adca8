import json
import os
import subprocess
import sys
import zipfile

import pytest

from spark_llm.catalyst import build
from spark_llm.catalyst.build import JarBuildError, compiler_warnings, ensure_jar
from spark_llm.catalyst.jar import read_manifest, write_jar
from spark_llm.catalyst.tree import Tree

pytestmark = pytest.mark.spark

SERVICE = "META-INF/services/org.apache.spark.sql.SparkSessionExtensionsProvider"


def test_the_jar_holds_classes_tables_service_and_the_python_half(built_tree):
    with zipfile.ZipFile(ensure_jar(tree=built_tree)) as jar:
        names = set(jar.namelist())
        service = jar.read(SERVICE).decode().strip()
    assert "org/apache/spark/sql/llm/Trivial.class" in names
    assert {
        f"org/apache/spark/sql/llm/{table}.json" for table in ("error-conditions", "conf-entries")
    } <= names
    assert {
        "spark_llm/__init__.py",
        "spark_llm/worker/__init__.py",
        "spark_llm/error-conditions.json",
    } <= names
    assert service == "org.apache.spark.sql.llm.LLMExtensions"
    assert not [name for name in names if name.endswith((".scala", ".pyc")) or "demo/model/" in name]


def test_the_jar_is_the_same_to_the_byte_when_built_again(built_tree, tmp_path):
    first = ensure_jar(tree=built_tree)
    entries = built_tree.contents()
    for copy in ("a.jar", "b.jar"):
        write_jar(tmp_path / copy, dict(reversed(entries.items())), read_manifest(first))
        os.utime(tmp_path / copy)
    assert (tmp_path / "a.jar").read_bytes() == (tmp_path / "b.jar").read_bytes()

    before = first.read_bytes()
    first.unlink()
    assert ensure_jar(tree=built_tree).read_bytes() == before


def test_workers_import_the_package_and_its_entry_points_from_the_jar(built_tree):
    code = """
import importlib.metadata, sys
import spark_llm, spark_llm.worker, spark_llm.errors
assert ".jar" in spark_llm.__file__, spark_llm.__file__
assert spark_llm.errors.conditions()
print(importlib.metadata.version("pyspark-llm"))
print([e.value for e in importlib.metadata.entry_points(group="vllm.endpoint_plugins") if "spark_llm" in e.name])
"""
    env = {**os.environ, "PYTHONPATH": str(ensure_jar(tree=built_tree))}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr
    version, entries = done.stdout.splitlines()
    assert version == built_tree.version
    assert entries == "['spark_llm.engine.vllm_plugin:BatchEndpoint']"


def test_nothing_is_compiled_twice_and_python_changes_only_zip(tree, monkeypatch):
    jar = ensure_jar(tree=tree)
    before = jar.stat().st_mtime_ns
    monkeypatch.setattr(build, "_compile", lambda *_: pytest.fail("compiled again"))

    assert ensure_jar(tree=tree) == jar
    assert jar.stat().st_mtime_ns == before

    with (tree.package / "errors.py").open("a") as file:
        file.write("# changed\n")
    with zipfile.ZipFile(ensure_jar(tree=tree)) as archive:
        assert archive.read("spark_llm/errors.py").endswith(b"# changed\n")


def test_a_change_in_scala_compiles_and_removes_the_old_classes(tree):
    ensure_jar(tree=tree)
    source = tree.package / "catalyst" / "Trivial.scala"
    source.write_text(source.read_text() + "\nclass Second { private val unused = 1 }\n")
    with zipfile.ZipFile(ensure_jar(tree=tree)) as jar:
        assert "org/apache/spark/sql/llm/Second.class" in jar.namelist()
    assert len(list((tree.package.parent / "build").glob("classes-*"))) == 1
    assert "unused" in compiler_warnings(tree)


def test_an_error_of_the_compiler_is_shown_and_leaves_nothing(tree):
    (tree.package / "catalyst" / "Trivial.scala").write_text("class {")
    with pytest.raises(JarBuildError, match=r"do not compile against Spark [\d.]+:\n(.|\n)*Trivial\.scala:1"):
        ensure_jar(tree=tree)
    assert not list(tree.shipped_jars.glob("*"))
    assert not list((tree.package.parent / "build").glob("*classes*"))


def test_an_installed_package_uses_the_jar_it_came_with(tree):
    jar = tree.shipped_jars / f"pyspark-llm-spark9.8_2.13-{tree.version}.jar"
    jar.parent.mkdir()
    jar.write_bytes(b"")
    (tree.package.parent / "pyproject.toml").unlink()
    assert ensure_jar("9.8.7", tree=Tree(tree.package)) == jar


def test_an_installed_package_without_a_fitting_jar_builds_in_the_users_cache(tree, tmp_path, monkeypatch):
    (tree.package.parent / "pyproject.toml").unlink()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    jar = ensure_jar(tree=Tree(tree.package))
    assert jar.is_relative_to(tmp_path / "cache" / "pyspark-llm")
    assert not tree.shipped_jars.exists()


def test_another_spark_than_the_installed_one_is_refused(tree):
    with pytest.raises(JarBuildError, match=r"No jar for Spark 9\.8 .*`pip install 'pyspark==9\.8'`"):
        ensure_jar("9.8", tree=tree)


def test_the_real_jar_has_all_sources_compiled():
    tree = Tree(build.Path(build.__file__).parents[1])
    with zipfile.ZipFile(ensure_jar()) as jar:
        names = jar.namelist()
        conditions = json.loads(jar.read("org/apache/spark/sql/llm/error-conditions.json"))
    assert len([name for name in names if name.endswith(".class")]) >= len(tree.sources())
    assert "LLM_ENGINE_FAILED" in conditions


def test_a_manifest_line_that_java_would_not_read_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at most 72 bytes"):
        write_jar(tmp_path / "x.jar", {}, {"Key": "v" * 80})
