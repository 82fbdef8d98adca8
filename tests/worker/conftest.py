import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from worker_helpers import StubEngine

from spark_llm.worker import clients


@pytest.fixture
def engine(monkeypatch):
    """Makes the worker use a stub: ``engine(reply, delay_s=0)`` returns it."""

    def use(reply, delay_s=0.0):
        stub = StubEngine(reply, delay_s)
        monkeypatch.setattr(clients, "client_for", lambda conf, environ: stub)
        return stub

    return use
