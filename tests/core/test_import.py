import importlib.metadata
import subprocess
import sys

import pytest

import spark_llm

HEAVY = ("pyspark", "pandas", "numpy", "pyarrow", "torch", "vllm", "httpx")


def test_import_is_light():
    code = f"import sys, spark_llm; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_exist():
    for name in spark_llm.__all__:
        assert getattr(spark_llm, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = spark_llm.no_such_name


def test_the_other_package_of_this_name_is_told(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: name)
    monkeypatch.delitem(sys.modules, "pyspark.worker", raising=False)
    with pytest.warns(RuntimeWarning, match="pip uninstall -y spark-llm"):
        spark_llm._warn_of_other_package()


def test_the_table_can_be_read_from_a_zip(tmp_path):
    import zipfile
    from pathlib import Path

    package = Path(spark_llm.__file__).parent
    with zipfile.ZipFile(tmp_path / "code.jar", "w") as archive:
        for file in [*package.glob("*.py"), *package.glob("*.json")]:
            archive.write(file, f"spark_llm/{file.name}")
    code = (
        "import spark_llm; print(spark_llm.__file__, spark_llm.SparkLLMError('LLM_MODEL_NOT_SET').sqlstate)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "code.jar"), "PATH": ""},
    )
    assert "code.jar" in done.stdout
    assert done.stdout.strip().endswith("42704")
