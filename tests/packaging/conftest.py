import shutil
from pathlib import Path

import pytest

from spark_llm.catalyst.tree import Tree

ROOT = Path(__file__).parents[2]

SCALA = """\
package org.apache.spark.sql.llm

import org.apache.spark.sql.{SparkSessionExtensions, SparkSessionExtensionsProvider}

class Trivial extends SparkSessionExtensionsProvider {
  override def apply(extensions: SparkSessionExtensions): Unit = ()
}
"""


@pytest.fixture
def tree(tmp_path):
    """A copy of the checkout with one small Scala file, so that compiling takes seconds."""
    return make_tree(tmp_path)


@pytest.fixture(scope="module")
def built_tree(tmp_path_factory):
    """As `tree`, but kept for the module: tests may read it and must not change it."""
    return make_tree(tmp_path_factory.mktemp("built"))


def make_tree(folder):
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    ignored = shutil.ignore_patterns("__pycache__", "jars", "model", "*.scala")
    shutil.copytree(ROOT / "spark_llm", folder / "spark_llm", ignore=ignored)
    (folder / "spark_llm" / "catalyst" / "Trivial.scala").write_text(SCALA)
    return Tree(folder / "spark_llm")
