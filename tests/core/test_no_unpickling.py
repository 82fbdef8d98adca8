"""Nothing of ours turns bytes into code: no pickle, no eval, no load of weights that are not plain data.

Spark itself unpickles, in its Python workers, what its driver sent over an authenticated local socket; what we
hand it there is one call by name with a text (`PythonCommand.scala`).
"""

import ast
from pathlib import Path

import pytest

import spark_llm

ROOT = Path(spark_llm.__file__).parent
MODULES = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
CALLS = {"eval", "exec", "torch.load", "numpy.load", "np.load", "yaml.load"}


def used(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]
        elif isinstance(node, ast.Call) and "weights_only=True" not in map(ast.unparse, node.keywords):
            yield ast.unparse(node.func)


@pytest.mark.reliability("bytes on one of our sockets", "read as JSON, never unpickled")
def test_nothing_is_unpickled_or_evaluated():
    """Every module of the package -> no import of pickle and its like, no eval, no torch.load."""
    found = {
        (str(file.relative_to(ROOT)), name)
        for file in ROOT.rglob("*.py")
        for name in used(ast.parse(file.read_text(encoding="utf-8")))
        if name in MODULES | CALLS
    }
    assert found == set()


def test_the_look_finds_what_it_looks_for():
    source = "import pickle\nfrom dill import x\nimport torch\ntorch.load('f')\neval('1')\n"
    assert set(used(ast.parse(source))) >= {"pickle", "dill", "torch.load", "eval"}
