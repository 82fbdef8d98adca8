import subprocess
import sys
import zipfile

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.spark]


@pytest.fixture(scope="module")
def wheel(built_tree, tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    stale = built_tree.shipped_jars / f"pyspark-llm-spark9.8_2.13-{built_tree.version}.jar"
    stale.parent.mkdir(exist_ok=True)
    stale.write_bytes(b"of another Spark")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-qq",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(out),
        ".",
    ]
    done = subprocess.run(command, cwd=built_tree.package.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return next(out.glob("*.whl"))


def test_the_wheel_carries_the_jar_the_tables_and_the_sources(wheel, built_tree):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        entry_points = archive.read(f"pyspark_llm-{built_tree.version}.dist-info/entry_points.txt").decode()
    assert wheel.name == f"pyspark_llm-{built_tree.version}-py3-none-any.whl"
    jars = [name for name in names if name.endswith(".jar")]
    assert len(jars) == 1
    assert jars[0].startswith("spark_llm/jars/pyspark-llm-spark4.")
    assert {"spark_llm/error-conditions.json", "spark_llm/conf-entries.json", "spark_llm/py.typed"} <= set(
        names
    )
    assert "spark_llm/catalyst/Trivial.scala" in names
    assert any(name.startswith("spark_llm/catalyst/resources/META-INF/services/") for name in names)
    assert "spark-llm = spark_llm.cli:main" in entry_points
    assert "spark_llm_batch = spark_llm.engine.vllm_plugin:BatchEndpoint" in entry_points


def test_the_wheel_carries_no_tests_and_no_caches(wheel):
    with zipfile.ZipFile(wheel) as archive:
        outside = [name for name in archive.namelist() if not name.startswith(("spark_llm/", "pyspark_llm-"))]
        assert not outside
        assert not [
            name for name in archive.namelist() if "test" in name.rsplit("/", 1)[-1] or "__pycache__" in name
        ]
