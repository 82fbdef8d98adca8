"""The fake engine behind HTTP, so slow that a query can be watched."""

import threading
from contextlib import contextmanager

from spark_llm.engine.fake import FakeEngine
from spark_llm.engine.fake_server import FakeServer


@contextmanager
def slow_engine(delay_s, **options):
    """Yields the entries of a session that asks it; every request takes ``delay_s`` at least."""
    server = FakeServer(FakeEngine(**options), delay_s=delay_s)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield {
            "spark.llm.engine.kind": "openai",
            "spark.llm.model": "fake",
            "spark.llm.engine.endpoint": f"http://127.0.0.1:{server.server_address[1]}/v1",
        }
    finally:
        server.shutdown()
        server.server_close()
