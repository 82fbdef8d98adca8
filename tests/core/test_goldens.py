import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "refresh_goldens.py"


def _script():
    spec = importlib.util.spec_from_file_location("refresh_goldens", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCRIPT_MODULE = _script()


@pytest.mark.parametrize("name", SCRIPT_MODULE.GOLDENS)
def test_golden_file_is_what_the_code_says(name):
    text = (SCRIPT_MODULE.ROOT / name).read_text(encoding="utf-8")
    assert text == SCRIPT_MODULE.GOLDENS[name](), "run python tests/refresh_goldens.py and review the change"


def test_a_stale_file_is_named(tmp_path):
    assert SCRIPT_MODULE.stale(tmp_path) == list(SCRIPT_MODULE.GOLDENS)
