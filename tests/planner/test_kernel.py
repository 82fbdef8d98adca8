"""Compiled kernels are kept where every process of this user finds them."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import spark_llm

SCRIPT = """
import spark_llm.planner.token_estimate as module, pyarrow as pa
print(module.estimate_tokens(pa.array(["two words"])).tolist(), module._estimate.stats.cache_hits)
"""


def run(script, path, **environ):
    base = {
        name: value for name, value in os.environ.items() if name not in {"NUMBA_CACHE_DIR", "XDG_CACHE_HOME"}
    }
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**base, "PYTHONPATH": str(path), **environ},
        capture_output=True,
        text=True,
        cwd=path if Path(path).is_dir() else None,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def jar(tmp_path):
    """The package inside a zip, as the jar carries it; a second copy under another name."""
    package = Path(spark_llm.__file__).parent
    copies = [tmp_path / "first" / "one.jar", tmp_path / "second" / "two.jar"]
    for copy in copies:
        copy.parent.mkdir()
        with zipfile.ZipFile(copy, "w") as archive:
            for module in package.rglob("*.py"):
                archive.write(module, f"spark_llm/{module.relative_to(package)}")
            for table in package.glob("*.json"):
                archive.write(table, f"spark_llm/{table.name}")
    return copies


def test_from_a_jar_and_again_from_its_copy(tmp_path, jar):
    cache = str(tmp_path / "kernels")
    assert run(SCRIPT, jar[0], NUMBA_CACHE_DIR=cache) == "[2] Counter()"
    assert run(SCRIPT, jar[1], NUMBA_CACHE_DIR=cache).startswith("[2] Counter({")


def test_without_a_home_there_is_a_private_folder(tmp_path):
    script = "from spark_llm.planner.kernel import cache_folder; print(cache_folder())"
    folder = run(script, Path(spark_llm.__file__).parents[1], HOME="/nonexistent", TMPDIR=str(tmp_path))
    assert folder.startswith(str(tmp_path / f"spark-llm-kernels-{os.getuid()}"))
    assert (tmp_path / f"spark-llm-kernels-{os.getuid()}").stat().st_mode & 0o777 == 0o700


def test_other_users_of_numba_keep_their_own_places():
    from numba import config

    import spark_llm.planner.tree  # noqa: F401

    assert config.CACHE_LOCATOR_CLASSES == ""
