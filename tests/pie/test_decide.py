from dataclasses import replace

import pytest

from spark_llm.costmodel.link import GH200, PCIE5_X16
from spark_llm.pie.decide import MIN_CEILING, MIN_GAIN, Mode, decide
from spark_llm.pie.facts import EngineFacts, JobFacts, Load

GB = 1e9
PCIE = EngineFacts(32, 16 * GB, 131_072, 20 * GB, 400 * GB, 4.8e12, PCIE5_X16, 18e-6)
C2C = EngineFacts(80, 80 * GB, 327_680, 10 * GB, 400 * GB, 4e12, GH200, 64e-6)
LONG = JobFacts(100_000, 100, 2_000)
RETURNING = JobFacts(100_000, 800, 40, 280, 300)


def test_rows_that_fit_need_nothing_and_shared_prompts_count_once():
    found = decide(PCIE, JobFacts(400, 800, 40, 480))
    assert (found.mode, found.gain) == (Mode.OFF, 1.0)
    assert found.reason == "all 400 rows at a time fit: 17.6 GiB of 18.6 GiB, the shared prompt once"
    assert decide(PCIE, JobFacts(400, 800, 40)).reason.startswith("decoding is")


def test_prefixes_that_return_come_before_layers():
    found = decide(C2C, replace(RETURNING, output_tokens=400))
    assert found.mode is Mode.BLOCKS
    assert found.gain > MIN_GAIN
    assert decide(C2C, JobFacts(100_000, 500, 400)).mode is Mode.LAYERS


def test_a_token_that_is_cheaper_to_compute_is_computed():
    slow = replace(PCIE, link=replace(PCIE5_X16, down_bytes_per_s=1e9))
    found = decide(slow, replace(RETURNING, rows=100))
    assert found.mode is Mode.OFF
    assert "computed again (131.1 µs a token to bring, 18.0 to compute)" in found.reason
    assert decide(slow).mode is Mode.OFF
    assert decide(PCIE).mode is Mode.BLOCKS


def test_short_answers_are_no_reason_for_more_rows():
    found = decide(C2C, JobFacts(100_000, 800, 8))
    assert found.mode is Mode.OFF
    assert found.reason.startswith("decoding is 8.5 % of the time: prompts take it")


def test_a_ceiling_that_is_not_worth_it_is_named():
    found = decide(PCIE, LONG)
    assert found.mode is Mode.OFF
    assert 1 < found.ceiling < MIN_CEILING
    assert found.reason == f"decoding would hide copies of up to {found.ceiling:.3f} × memory, under 1.05"


def test_layers_go_where_the_link_hides_them():
    found = decide(C2C, LONG)
    assert found.mode is Mode.LAYERS
    assert (found.away, found.expansion) == (40, 2.0)
    assert found.gain == pytest.approx(1.77, abs=0.01)
    assert found.expansion <= found.ceiling


def test_passes_with_prompts_hide_more_and_passes_without_still_wait():
    starved = EngineFacts(80, 120 * GB, 163_840, 3 * GB, 400 * GB, 4.8e12, PCIE5_X16, 64e-6, chunk_tokens=256)
    load = Load(starved, JobFacts(100_000, 500, 100))
    assert 0.5 < load.prompt_share() < 1
    found = decide(starved, load.job)
    assert found.expansion > found.ceiling
    assert "hidden behind prompts" in found.reason
    # In larger chunks fewer passes have any, and those that only decode would wait.
    rare = Load(replace(starved, chunk_tokens=4096), load.job)
    assert rare.prompt_share() < 0.1
    assert rare.gain(found.away) < load.gain(found.away)
    assert decide(rare.engine, load.job).expansion <= found.ceiling


def test_where_prompts_fill_every_pass_more_rows_change_nothing():
    load = Load(replace(C2C, chunk_tokens=128), JobFacts(100_000, 2_000, 200))
    assert load.prompt_share() == 1
    assert all(load.gain(away) <= 1 for away in load.cost.aways())
    found = decide(load.engine, load.job)
    assert (found.mode, found.reason) == (
        Mode.OFF,
        "layers away would give 1.00 × rows per second at most, under 1.05",
    )


def test_no_more_layers_go_than_the_rows_need():
    few = decide(C2C, replace(LONG, rows=20))
    assert few.mode is Mode.LAYERS
    assert 0 < few.away < 40
    assert Load(C2C, replace(LONG, rows=20)).wanted_bytes <= few.expansion * C2C.near_bytes


def test_host_memory_limits_the_layers():
    found = decide(replace(C2C, host_bytes=4 * GB), LONG)
    assert found.mode is Mode.LAYERS
    assert (found.away + 2) * C2C.near_bytes / (80 - found.away) <= 4 * GB < 10 * GB
    none = decide(replace(C2C, host_bytes=1e6), LONG)
    assert none.mode is Mode.OFF
    assert "976.6 KiB of host memory hold no layers" in none.reason


def test_what_is_asked_for_is_done_with_its_figures():
    assert decide(C2C, LONG, Mode.OFF).mode is Mode.OFF
    assert decide(PCIE, LONG, Mode.BLOCKS).mode is Mode.BLOCKS
    forced = decide(PCIE, LONG, Mode.LAYERS)
    assert (forced.mode, forced.away) == (Mode.LAYERS, 2)
    assert forced.gain < 1
    assert decide(C2C, None, Mode.LAYERS).away == 40
    assert decide(PCIE, None, Mode.LAYERS).away == 2


@pytest.mark.parametrize(
    "bad", [{"rows": 0}, {"output_tokens": 0}, {"shared_tokens": 900}, {"returning_tokens": -1}]
)
def test_jobs_that_cannot_be_are_refused(bad):
    with pytest.raises(ValueError, match="within the prompt"):
        replace(JobFacts(10, 800, 8), **bad)


def test_a_predicted_loss_is_never_chosen():
    for near in (1, 5, 20, 100):
        for prompt, answer in ((100, 2000), (800, 40), (4000, 400), (50, 8)):
            for engine in (PCIE, C2C):
                for returning in (0, prompt / 2):
                    job = JobFacts(100_000, prompt, answer, 0, returning)
                    found = decide(replace(engine, near_bytes=near * GB), job)
                    assert found.gain >= (1 if found.mode is Mode.OFF else MIN_GAIN)
