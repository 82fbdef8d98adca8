"""The block tier in the real engine: stock vLLM's answers whatever happens to the tier."""

from __future__ import annotations

from pathlib import Path

import pytest
from own_process import found_by

pytest.importorskip("vllm")
pytestmark = [pytest.mark.vllm, pytest.mark.slow]

PASSES = (
    "slow disk",
    "first", "again", "slow, then slower", "damaged", "cut", "full disk", "small, speculation",
)  # fmt: skip
# Whole blocks of the prefixes of 18 rows.
PREFIX_TOKENS = 18 * 128


@pytest.fixture(scope="module")
def engines(tmp_path_factory):
    """What all engines did."""
    return found_by(Path(__file__).with_name("tier_engines.py"), tmp_path_factory.mktemp("tier"))


@pytest.mark.parametrize("name", PASSES)
def test_answers_are_vllms(engines, name):
    stock = engines["stock"]
    assert engines[name]["answers"] == stock["answers"]
    assert engines[name]["done"]
    # Answers that hardly differ would hide blocks that are mixed up.
    assert len({tuple(answer) for answer in stock["answers"]}) > len(stock["answers"]) / 2


def test_returning_prefixes_come_from_the_tier_and_not_twice_to_it(engines):
    assert engines["stock"]["hit"] == 0
    assert engines["stock"]["preemptions"] + engines["first"]["preemptions"] > 0
    assert engines["first"]["stored"] > 0
    again = engines["again"]
    assert again["hit"] == PREFIX_TOKENS
    assert again["loaded"] > again["stored"] == 0


def test_stores_that_fall_behind_are_dropped(engines):
    assert engines["slow disk"]["unkept_blocks"] > 0
    assert engines["first"]["stored"] > 0


def test_a_slow_link_costs_steps_and_no_hit(engines):
    assert engines["slow, then slower"]["hit"] == PREFIX_TOKENS


@pytest.mark.parametrize("name", ["damaged", "cut"])
def test_bad_blocks_are_computed_again_and_stored_anew(engines, name):
    found = engines[name]
    assert found["bad_blocks"] > 0
    assert 0 < found["hit"] < PREFIX_TOKENS
    assert found["stored"] > 0


def test_a_full_disk_keeps_nothing_and_ends_nothing(engines):
    full = engines["full disk"]
    assert full["unkept_blocks"] > 0
    assert full["stored"] == 0


def test_a_tier_that_is_too_small_evicts_and_goes_with_speculation(engines):
    small = engines["small, speculation"]
    assert small["evictions"] > 0
    assert small["steps"] < engines["first"]["steps"] / 2


def test_it_tells_what_it_is(engines):
    told = engines["told"]
    assert (told["mode"], told["host_bytes"]) == ("blocks", 64 << 20)
    assert told["blocks"] > 0
