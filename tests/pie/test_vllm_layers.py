"""Layer swap in the real engine: the answers are vLLM's, with twice the blocks, whatever the link does."""

from __future__ import annotations

from pathlib import Path

import pytest
from own_process import found_by

pytest.importorskip("vllm")
pytestmark = [pytest.mark.vllm, pytest.mark.slow]

DROP_AFTER_BYTES = 20_000_000


@pytest.fixture(scope="module")
def engines(tmp_path_factory):
    """What all engines did."""
    return found_by(Path(__file__).with_name("layer_engines.py"), tmp_path_factory.mktemp("swap"))


def test_answers_are_vllms(engines):
    stock, found = engines["stock"]["passes"], engines["swap"]["passes"]
    assert [each["answers"] for each in found] == [each["answers"] for each in stock]
    assert found[1]["hit tokens"] > 0
    # Answers that hardly differ would hide blocks that are mixed up.
    assert len({tuple(answer) for answer in stock[0]["answers"]}) > len(stock[0]["answers"]) / 2


def test_twice_the_blocks_and_rows_in_the_same_near_memory(engines):
    stock, found = engines["stock"]["passes"][0], engines["swap"]["passes"][0]
    assert found["blocks"] >= 2 * stock["blocks"]
    assert found["peak running"] >= 2 * stock["peak running"]
    assert found["loaded MB"] > found["stored MB"] > 0


def test_rows_are_preempted_with_swap_as_well(engines):
    assert sum(each["preemptions"] for each in engines["swap"]["passes"]) > 0


def test_no_block_stays_in_use(engines):
    found = engines["swap"]
    assert found["emptied"]
    assert found["free"] == found["passes"][0]["blocks"] - 1


def test_speculation_drafts_beside_it(engines):
    # The third pass asks what the second has answered.
    assert engines["swap"]["passes"][2]["steps"] < engines["stock"]["passes"][2]["steps"]


def test_a_slow_link_lowers_the_cap_and_no_further_than_to_what_moves_nothing(engines):
    found = engines["swap"]
    caps = [cap for each in found["passes"] for cap in each["caps"]]
    assert caps[0] == found["passes"][0]["blocks"]
    assert min(caps) < caps[0]
    assert min(caps) >= found["resident"] > 0
    figures = found["figures"]
    assert figures["swap_blocks"] == caps[0]
    assert found["resident"] <= figures["swap_cap_blocks"] <= caps[0]
    # It has dropped.
    assert figures["swap_loaded_bytes"] > DROP_AFTER_BYTES
