"""`spark-submit app.py` with the settings of conf/spark-defaults.conf."""

import pytest

pytestmark = pytest.mark.spark


def test_application_with_the_settings_file(place, blocks, golden, rows):
    (command,) = blocks("spark-submit")
    assert rows(place.run(command)) == golden
    assert place.requests() == {"driver": 5 + len(golden)}
