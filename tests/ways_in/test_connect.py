"""A Connect server in a process of its own, and a client that has no JVM."""

import pytest

pytestmark = pytest.mark.spark

pytest.importorskip("grpc_status")
pytest.importorskip("zstandard")


def test_client_asks_by_sql_and_by_columns_and_understands_mistakes(place, blocks, golden, rows, free_port):
    start, ask, stop = (block.replace("15002", str(free_port)) for block in blocks("connect"))
    place.run(start)
    # A client has no master of its own, and PySpark refuses to be told of both.
    del place.env["MASTER"]
    try:
        out = place.run(ask)
    finally:
        place.run(stop)
    _, sql, columns, mistake = out.split("-- ")
    assert rows(sql) == golden
    assert rows(columns) == golden
    assert rows(mistake) == [("LLM_UNKNOWN_OPTION", "4274K")]
    assert "return_type" in mistake
    # The server writes the end of its event log when it ends.
    assert place.await_end() == []
    assert place.requests() == {"driver": 2 * (5 + len(golden))}
