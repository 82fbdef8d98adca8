import random
from dataclasses import replace

import pytest

from spark_llm.costmodel.link import Link
from spark_llm.pie.ceiling import PassCost
from spark_llm.pie.controller import ExpansionController, Ratio, Window, expected_longer
from spark_llm.pie.layout import spread
from spark_llm.pie.simulate import SwapSimulation

GB = 1e9
COST = PassCost(24, 80 * GB, 10 * GB, 4000 * GB, Link(1e-6, 400 * GB, 400 * GB), turning=True)


def measured(cost, away, *, compute=1.0, copy=1.0, passes=5):
    """A window of an engine whose times are the model's, each times a factor."""
    compute_s, copy_s = passes * cost.compute_s(away) * compute, passes * cost.copy_s(away) * copy
    seconds = max(compute_s, copy_s)
    copies = passes * (away + cost.slots) if away else 0
    return Window(passes, seconds, seconds - compute_s, passes * cost.expansion(away), copies, copy_s)


def follow(controller, windows, **factors):
    away = [controller.away]
    for _ in range(windows):
        away.append(controller.update(measured(controller.cost, away[-1], **factors)))
    return away


def best(cost, copy=1.0):
    link = replace(cost.link, down_bytes_per_s=cost.link.down_bytes_per_s / copy)
    return replace(cost, link=link).best_away()


def test_it_tries_the_smallest_layout_and_then_goes_where_the_times_say():
    away = follow(ExpansionController(COST), 6)
    assert away[:2] == [0, 1]
    assert abs(away[2] - best(COST)) <= 1
    assert away[-1] == away[2]


@pytest.mark.parametrize("copy", [0.7, 1.0, 2.0, 4.0])
def test_a_link_unlike_its_model_is_found_out(copy):
    away = follow(ExpansionController(COST), 10, copy=copy)
    assert abs(away[-1] - best(COST, copy)) <= 1


def test_it_shrinks_at_once():
    controller = ExpansionController(COST)
    follow(controller, 10)
    before = controller.away
    away = follow(controller, 3, copy=2.0)
    assert away[1] < before
    assert abs(away[-1] - best(COST, 2.0)) <= 1


def test_a_link_on_which_nothing_fits_is_not_tried():
    slow = replace(COST, near_bytes=100 * GB, link=Link(1e-6, 20 * GB, 20 * GB))
    assert follow(ExpansionController(slow), 20) == [0] * 21


def test_what_waits_although_copies_fit_by_their_times_shrinks_and_is_not_tried_again_soon():
    controller = ExpansionController(COST, away=8)
    fine = measured(COST, 8)
    waits = replace(fine, seconds=1.2 * fine.seconds, stall_s=0.2 * fine.seconds)
    for _ in range(2):
        if controller.away == 8:
            controller.update(waits)
    assert controller.away == 7
    assert follow(controller, 6) == [7] * 7


def test_a_growth_that_loses_rows_is_taken_back():
    controller = ExpansionController(COST)
    away = follow(controller, 2)
    assert away[-1] > 1
    for _ in range(6):
        window = measured(COST, controller.away)
        worse = replace(window, rows=0.3 * window.rows)
        controller.update(worse if controller.away == away[-1] else window)
    assert controller.away < away[-1]


@pytest.mark.parametrize("limit", [0, 3, 7])
def test_it_never_exceeds_its_limit(limit):
    assert max(follow(ExpansionController(COST, away=20, limit=limit), 10)) <= limit


def test_windows_without_passes_change_nothing():
    controller = ExpansionController(COST, away=4)
    assert controller.update(Window(0, 0.0, 0.0, 0, 0, 0.0)) == 4


@pytest.mark.parametrize("start", [0, 21])
def test_it_finds_the_best_layout_in_the_simulated_engine_with_noise_and_a_drop(start):
    def noise():
        return draw.uniform(0.8, 1.2)

    def long_run(cost, away):
        simulation = SwapSimulation(cost, spread(24, away, 2, True), noise)
        simulation.run(3)
        return simulation.run(100).rows_per_s

    def best_of(cost):
        return max(range(cost.best_away() - 3, cost.best_away() + 3), key=lambda away: long_run(cost, away))

    draw = random.Random(start)
    slower = replace(COST, link=Link(1e-6, 200 * GB, 200 * GB))
    targets = best_of(COST), best_of(slower)
    simulation = SwapSimulation(COST, spread(24, start, 2, True), noise)
    controller = ExpansionController(COST, start)
    away = []
    for at in range(90):
        if at == 45:
            simulation.change_link(0.5)
        away.append(controller.update(simulation.run(controller.window_passes)))
        simulation.relayout(away[-1])
    for half, target in ((away[:45], targets[0]), (away[45:], targets[1])):
        near = [abs(layers - target) <= 1 for layers in half]
        assert any(all(near[at : at + 5]) for at in range(40))


def test_a_ratio_follows_a_jump_but_no_single_measurement():
    ratio = Ratio()
    for measured_s in (2.0, 2.1, 1.9, 2.0):
        ratio.observe(measured_s, 1.0)
    assert ratio.value == pytest.approx(2.0, abs=0.05)
    ratio.observe(6.0, 1.0)
    assert ratio.value == pytest.approx(2.0, abs=0.05)
    ratio.observe(6.0, 1.0)
    assert ratio.value == 6.0


def test_the_longer_of_two_times():
    draw = random.Random(0)
    mean = sum(max(draw.gauss(10, 1), 10.5) for _ in range(20_000)) / 20_000
    assert expected_longer(10, 10.5, 1) == pytest.approx(mean, abs=0.02)
    assert expected_longer(10, 5, 0) == 10
