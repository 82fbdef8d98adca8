"""Cache folders, written by `cache_files`."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from cache_files import Folder


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path / "cache")


@pytest.fixture
def make_folder(tmp_path_factory):
    """A fresh folder, for each example of a property."""
    return lambda: Folder(tmp_path_factory.mktemp("cache"))
