"""Our allocator in the real engine: the answers are vLLM's, and nothing stays behind."""

from __future__ import annotations

from pathlib import Path

import pytest
from own_process import found_by

pytest.importorskip("vllm")
pytestmark = [pytest.mark.vllm, pytest.mark.slow]

MODELS = ("gemma3", "gemma4", "gpt-oss", "lfm2")


@pytest.fixture(scope="module")
def engines(tmp_path_factory):
    """What all engines did."""
    return found_by(Path(__file__).with_name("engines.py"), tmp_path_factory.mktemp("jenga"))


@pytest.mark.parametrize("model", MODELS)
def test_answers_are_vllms_under_preemption_and_with_hits(engines, model):
    stock = engines[model]["stock"]["passes"]
    for who, found in engines[model].items():
        first, again = found["passes"]
        assert [each["answers"] for each in found["passes"]] == [each["answers"] for each in stock]
        assert again["hit"] > 0
        if who != "stock":
            assert first["allocator"] == "jenga"
            assert first["preemptions"] + again["preemptions"] > 0
    # Answers that hardly differ would hide pages that are mixed up.
    assert len({tuple(answer) for answer in stock[0]["answers"]}) > len(stock[0]["answers"]) / 2


@pytest.mark.parametrize("model", MODELS)
def test_no_page_stays_in_use(engines, model):
    found = engines[model]["jenga"]
    assert set(found["used"]) == {0}
    assert found["usage"] == 0.0


def test_what_fits_is_counted_in_its_own_pages(engines):
    stock, jenga = (engines["gemma4"][who]["concurrency"] for who in ("stock", "jenga"))
    # Groups of vLLM's waste half a page of the layers with the small heads.
    assert stock < jenga < 3 * stock


def test_speculation_drafts_beside_it(engines):
    found = engines["gemma4"]["jenga, speculation"]
    assert found["speculates"]
    # The second pass asks what the first has answered.
    assert found["passes"][1]["steps"] < engines["gemma4"]["jenga"]["passes"][1]["steps"]


@pytest.mark.parametrize("allocator", ["vllm", "jenga"])
def test_the_second_row_of_a_prefix_hits_a_planned_junction(engines, allocator):
    stock, planned = engines["junctions"]["stock"], engines["junctions"][allocator]
    assert planned["allocator"] == allocator
    assert planned["answers"] == stock["answers"]
    # Five prefixes of 96 tokens, each stored by the first of three rows; vLLM stores it from the second on.
    assert planned["hit"] == 5 * 2 * 96
    assert planned["hit"] >= 2 * stock["hit"]


@pytest.mark.parametrize("model", ["lfm2", "gemma4"])
def test_rows_that_tell_what_is_to_come_hit_more_and_answer_the_same(engines, model):
    stock, uses = engines["tasks"][model]["stock"], engines["tasks"][model]["uses"]
    assert uses["answers"] == stock["answers"]
    assert uses["hit"] > 1.2 * stock["hit"]
    # All rows have ended: nothing is wanted any more.
    assert uses["known"] == 0
    assert uses["kept"] in {0, None}
