"""What all tests share: the interpreter of Spark's workers, Java, and markers by folder."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import reliability_page

from spark_llm.catalyst.java import JavaNotFoundError, use_java

TESTS = Path(__file__).parent
MARKS_OF_FOLDER = {"spark": ("spark",), "vllm_contract": ("vllm",)}


def pytest_addoption(parser):
    parser.addoption(
        "--write-reliability", action="store_true", help="write docs/reliability.md from what passed"
    )


def pytest_configure(config):
    if config.getoption("--write-reliability"):
        config.pluginmanager.register(reliability_page.Recorder())
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    # Nothing here may reach a model hub: what a test needs it makes, or it lies in the package.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")


def pytest_collection_modifyitems(items):
    has_vllm = importlib.util.find_spec("vllm") is not None
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0] if item.path.is_relative_to(TESTS) else ""
        for mark in MARKS_OF_FOLDER.get(folder, ()):
            item.add_marker(mark)
        if item.get_closest_marker("vllm") and not has_vllm:
            item.add_marker(pytest.mark.skip(reason="vLLM is not installed: pip install 'pyspark-llm[cpu]'"))


def pytest_runtest_setup(item):
    if item.get_closest_marker("spark"):
        try:
            use_java()
        except JavaNotFoundError as error:
            pytest.fail(str(error), pytrace=False)
