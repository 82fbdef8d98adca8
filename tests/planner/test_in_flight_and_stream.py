"""Plans for engines that cannot share among running requests, and for tables beyond memory."""

import numpy as np
import pyarrow as pa
import pytest

from spark_llm.planner import order_stream, order_table


def table_of_groups(groups=20, size=12):
    return pa.table(
        {
            "film": [f"A long text about film {row // size}. " * 8 for row in range(groups * size)],
            "review": [f"review {row}" for row in range(groups * size)],
        }
    )


def shared_with_lag(order, table, lag):
    """Requests whose film was asked about more than `lag` requests ago: what such an engine can reuse."""
    films = table["film"].take(pa.array(order.row_indices)).to_pylist()
    return sum(film in films[: max(0, at - lag)] for at, film in enumerate(films))


@pytest.mark.parametrize("lag", [1, 4, 8])
def test_interleaving_keeps_what_requests_in_flight_would_lose(lag):
    table = table_of_groups()
    plain, interleaved = order_table(table), order_table(table, in_flight=lag)
    best = shared_with_lag(plain, table, 0)
    assert shared_with_lag(plain, table, lag) <= best - 20 * min(lag, 8)
    assert shared_with_lag(interleaved, table, lag) >= best - 2 * 2 * lag
    assert sorted(interleaved.row_indices.tolist()) == list(range(240))


def test_field_orders_move_with_their_rows():
    table = table_of_groups(5, 4).append_column("city", pa.array(["Oslo", "Rome"] * 10))
    plain, interleaved = order_table(table), order_table(table, in_flight=3)
    orders = {row: plain.field_names(at) for at, row in enumerate(plain.row_indices.tolist())}
    assert all(
        interleaved.field_names(at) == orders[row] for at, row in enumerate(interleaved.row_indices.tolist())
    )
    assert interleaved.shared_tokens == plain.shared_tokens  # as long as the engine keeps the runs' prefixes


def test_stream_plans_chunk_by_chunk():
    table = table_of_groups()
    batches = [
        *table.to_batches(max_chunksize=50),
        *pa.table({"film": pa.array([], pa.string()), "review": pa.array([], pa.string())}).to_batches(),
    ]
    chunks = list(order_stream(batches, chunk_bytes=80 * table.nbytes // 240))
    assert [chunk.num_rows for chunk, _ in chunks] == [100, 100, 40]
    assert pa.concat_tables([chunk for chunk, _ in chunks]).equals(table)
    for chunk, order in chunks:
        assert sorted(order.row_indices.tolist()) == list(range(chunk.num_rows))
        assert order.plan().equals(order_table(chunk).plan())


def test_nothing_to_stream():
    assert list(order_stream([])) == []
    assert np.array(order_table(pa.table({"a": pa.array([], pa.string())})).row_indices).size == 0
