"""A cluster of one master and two workers: both executors answer, and nothing is left after stop."""

import pytest

pytestmark = [pytest.mark.spark, pytest.mark.slow]


def test_both_executors_answer(place, blocks, golden, rows, free_port):
    start, submit, stop = blocks("standalone")
    place.env["CLUSTER_PORT"] = str(free_port)
    try:
        said = place.run(start)
        assert "has 2 workers" in said
        out = place.run(submit)
    finally:
        place.run(stop)
    assert place.await_end() == []
    assert rows(out) == golden
    asked = place.requests()
    assert asked.keys() == {"0", "1"}
    assert all(asked.values())
    assert asked.total() == 5 + len(golden)
