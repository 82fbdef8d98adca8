"""`spark_llm.register` on a session that was started without us: answers and requests of a configured one."""

import pytest

pytestmark = pytest.mark.spark


def test_registered_session_answers_and_asks_as_a_configured_one(place, blocks, golden, rows):
    (command,) = blocks("live-session")
    assert rows(place.run(command)) == golden
    # The configured ways assert the same number.
    assert place.requests() == {"driver": 5 + len(golden)}
