"""Does memory behind a link pay, and does the policy find out how much? Passes of a simulated engine.

The engine decodes for ever with its memory full (`spark_llm.pie.simulate`): a compute stream, two copy
streams, layers that take turns in slots. Rows in flight follow the memory. Rates are rows per second over
those with nothing away.

    ceiling     the closed form for machines and models, beside what the simulated engine reaches with less
                than 2 % slow-down, and beside others' ways: every layer moves in every pass; the whole cache
                moves while nothing computes (FlexGen-like); blocks that are not in use only (vLLM's tier)
    edge        every layout at or below .95 of the ceiling, and the first at or above 1.1: layers waited for
    gh200       weights 8 times the device's memory for keys and values: speed, slow-down, device memory
    controller  windows of 5 passes until the layers away are within one of the best, from any start, with
                passes and copies that vary by 20 %, and after the link has lost half its speed
    not slower  controller and admission cap on links that are slower or faster than their model says
    decision    what `decide` says of jobs, and the gain it predicts; where layers are swapped, beside the
                gain in the simulated engine that admits rows, computes prompts in chunks and preempts

Slots are fixed, as addresses in captured graphs are, unless a row says `turning`. `best` of the controller is
the number of layers away with most rows per second in a longer run with the same variation.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import harness

from spark_llm.costmodel.link import GH200, NVLINK_C2C, PCIE5_X16, Link
from spark_llm.costmodel.simulate.engine import Limits, Simulation
from spark_llm.costmodel.simulate.workload import grouped
from spark_llm.costmodel.step_time import StepTime
from spark_llm.pie import rivals
from spark_llm.pie.admission import AdmissionCap
from spark_llm.pie.ceiling import PassCost
from spark_llm.pie.controller import ExpansionController
from spark_llm.pie.decide import EngineFacts, JobFacts, Mode, decide
from spark_llm.pie.facts import Load
from spark_llm.pie.layout import SLOTS, SlotLayout, away_for, spread
from spark_llm.pie.simulate import SwapSimulation, exactly
from spark_llm.pie.simulate_cap import CapSimulation, resident_blocks
from spark_llm.pie.transfers import SwappedLayers

GB: Final = 1e9
NOISE: Final = 0.2
MOST_WINDOWS: Final = 40
IN_A_ROW: Final = 5
WARM_PASSES: Final = 3
MOST_SLOW_DOWN: Final = 0.02
NEAR_BLOCKS: Final = 20_000
BLOCK_TOKENS: Final = 16
SPEEDS: Final = (2.0, 1.0, 0.5, 0.25, 0.1)
"""Of the link, over what its model says."""


@dataclass(frozen=True)
class Case:
    """A model on a machine, and the expansion that the closed form was worked out to be, by hand."""

    name: str
    cost: PassCost
    expected: float | None = None

    @property
    def ratio(self) -> float:
        """Weights over device memory for keys and values."""
        return self.cost.weights_bytes / self.cost.near_bytes


def case(
    name: str,
    layers: int,
    weights: float,
    near: float,
    device: float,
    link: Link,
    extra_s: float = 0.0,
    expected: float | None = None,
) -> Case:
    """Sizes in GB, speeds in GB/s."""
    return Case(name, PassCost(layers, weights * GB, near * GB, device * GB, link, extra_s), expected)


STARVED: Final = case("GH200, W=80, C=10", 80, 80, 10, 4000, GH200, expected=2.05)
TABLE: Final = (
    STARVED,
    case("GH200, W=70, C=20", 80, 70, 20, 4000, GH200, expected=1.53),
    case("GH200, W=26, C=60", 40, 26, 60, 4000, GH200, expected=1.17),
    case("H200 PCIe 5, W=16, C=100", 32, 16, 100, 4800, PCIE5_X16, expected=1.01),
    case("H200, W=70, C=55", 80, 70, 55, 4800, PCIE5_X16, expected=1.02),
    case("H200, W=120, C=10", 80, 120, 10, 4800, PCIE5_X16, expected=1.14),
    case("H200, W=16, C=100, prompts 0.10 s", 32, 16, 100, 4800, PCIE5_X16, 0.10, 1.06),
    case("H200, W=16, C=20, prompts 0.10 s", 32, 16, 20, 4800, PCIE5_X16, 0.10, 1.27),
    case("H200, W=70, C=55, prompts 0.25 s", 80, 70, 55, 4800, PCIE5_X16, 0.25, 1.25),
    case("H200, W=70, C=20, prompts 0.25 s", 80, 70, 20, 4800, PCIE5_X16, 0.25, 1.68),
)
MEASURED_C2C: Final = case("GH200 as measured (382 / 158 GB/s), W=80, C=10", 80, 80, 10, 4000, NVLINK_C2C)


def passes(cost: PassCost, layout: SlotLayout, count: int, *, across: bool = True) -> Any:
    """A window of a warm engine."""
    simulation = SwapSimulation(cost, layout, across_passes=across)
    simulation.run(WARM_PASSES)
    return simulation.run(count)


def slow_down(cost: PassCost, away: int) -> float:
    """Share by which a pass is longer than its computation."""
    window = passes(cost, spread(cost.layers, away, SLOTS, cost.turning), 10)
    return window.seconds / window.passes / cost.compute_s(away) - 1


def widest(cost: PassCost) -> int:
    """Most layers away with less than 2 % slow-down."""
    found = 0
    for away in cost.aways():
        if slow_down(cost, away) > MOST_SLOW_DOWN:
            break
        found = away
    return found


def ceilings(quick: bool) -> Iterator[dict[str, Any]]:
    for case in (*TABLE[: 1 if quick else None], *([] if quick else [MEASURED_C2C])):
        cost = case.cost
        away, off = widest(cost), rivals.prefix_tier_rate(cost)
        turning = replace(cost, turning=True)
        row: dict[str, Any] = {
            "kind": "ceiling",
            "case": case.name,
            "weights_over_near": round(case.ratio, 2),
            "closed_form": round(cost.ceiling(), 3),
            "expected": case.expected,
            "expansion": round(cost.expansion(away), 3),
            "rate": round(passes(cost, spread(cost.layers, away), 10).rows_per_s / off, 3),
            "turning_expansion": round(cost.expansion(widest(turning)), 3),
        }
        # Others at the same memory; where nothing can be away, at the least that can.
        same = away or cost.aways()[1]
        everything = rivals.every_layer(cost.layers, same)
        row["others_expansion"] = round(cost.expansion(same), 3)
        row["every_layer"] = round(passes(cost, everything, 10).rows_per_s / off, 3)
        row["whole_cache"] = round(rivals.blocking_rate(cost, same) / off, 3)
        row["not_in_use_only"] = 1.0
        row["moved_layers"] = passes(cost, spread(cost.layers, same), 10).copies / 10
        row["every_layer_moved_layers"] = passes(cost, everything, 10).copies / 10
        yield row


def edges(quick: bool) -> Iterator[dict[str, Any]]:
    for case in TABLE[: 1 if quick else None]:
        for turning in (False, True):
            cost = replace(case.cost, turning=turning)
            ceiling = cost.ceiling()
            below = [
                away
                for away in cost.aways()
                if 0 < away <= away_for(cost.layers, 0.95 * ceiling, SLOTS, turning)
            ]
            beyond = [away for away in cost.aways() if cost.expansion(away) >= 1.1 * ceiling][:1]
            yield {
                "kind": "edge",
                "case": case.name,
                "slots": "turning" if turning else "fixed",
                "closed_form": round(ceiling, 3),
                "layouts_below": len(below),
                "waits_below": sum(stalls(cost, away) for away in below),
                "expansion_beyond": round(cost.expansion(beyond[0]), 3) if beyond else None,
                "waits_beyond": stalls(cost, beyond[0]) if beyond else None,
            }


def stalls(cost: PassCost, away: int) -> int:
    return passes(cost, spread(cost.layers, away, SLOTS, cost.turning), 10).stalls


def gh200() -> Iterator[dict[str, Any]]:
    for case in (STARVED, MEASURED_C2C):
        cost = case.cost
        away = cost.best_away()
        window = passes(cost, spread(cost.layers, away), 20)
        off = rivals.prefix_tier_rate(cost)
        rate = window.rows_per_s / off
        # Memory C' with which an engine without swap is as fast: C'/(W + C') = rate·C/(W + C).
        share = rate * cost.near_bytes / (cost.weights_bytes + cost.near_bytes)
        equal_bytes = cost.weights_bytes * share / (1 - share)
        blocking = rivals.blocking_rate(cost, away) / off
        yield {
            "kind": "gh200",
            "case": case.name,
            "expansion": round(cost.expansion(away), 3),
            "rate": round(rate, 3),
            "slow_down": round(window.seconds / window.passes / cost.compute_s(away) - 1, 4),
            "device_memory_without_over_with": round(equal_bytes / cost.near_bytes, 3),
            "over_whole_cache": round(rate / blocking, 2),
            "across_passes_off": round(
                passes(cost, spread(cost.layers, away), 20, across=False).rows_per_s / off, 3
            ),
        }


def varying(seed: int) -> Callable[[], float]:
    draw = random.Random(seed)
    return lambda: draw.uniform(1 - NOISE, 1 + NOISE)


def best_away(cost: PassCost, count: int) -> int:
    """Most rows per second while passes and copies vary."""
    model = cost.best_away()
    rates = {}
    for away in cost.aways():
        if abs(away - model) <= 6:
            simulation = SwapSimulation(cost, spread(cost.layers, away, SLOTS, cost.turning), varying(0))
            simulation.run(WARM_PASSES)
            rates[away] = simulation.run(count).rows_per_s
    return max(rates, key=lambda away: rates[away])


def controlled(
    cost: PassCost, start: int, seed: int, windows: int, change: float, noise: Callable[[], float] | None
) -> tuple[list[int], float]:
    """Layers away by window, and the rate; the link changes its speed half-way."""
    simulation = SwapSimulation(cost, spread(cost.layers, start, SLOTS, cost.turning), noise or varying(seed))
    controller = ExpansionController(cost, start)
    away, rows = [], 0.0
    for at in range(windows):
        if at == windows // 2:
            simulation.change_link(change)
        window = simulation.run(controller.window_passes)
        rows += window.rows
        away.append(controller.update(window))
        simulation.relayout(away[-1])
    return away, rows / simulation.now_s / rivals.prefix_tier_rate(cost)


def windows_until(away: list[int], best: int) -> int:
    """Until the layers away are within one of the best for some windows in a row."""
    near = [abs(layers - best) <= 1 for layers in away]
    found = (at for at in range(len(near) - IN_A_ROW + 1) if all(near[at : at + IN_A_ROW]))
    return next(found, len(near))


def controllers(quick: bool) -> Iterator[dict[str, Any]]:
    windows = 2 * (MOST_WINDOWS + IN_A_ROW)
    for case in TABLE[7:8] if quick else TABLE:
        cost = replace(case.cost, turning=True)
        slower = replace(cost, link=faster(cost.link, 0.5))
        best = best_away(cost, 60 if quick else 300), best_away(slower, 60 if quick else 300)
        most = cost.aways()[-1]
        for start in sorted({0, cost.layers // 4, cost.layers // 2, most}):
            runs = [controlled(cost, start, seed, windows, 0.5, None)[0] for seed in range(1 if quick else 3)]
            half = windows // 2
            yield {
                "kind": "controller",
                "case": case.name,
                "start_away": start,
                "best_away": best[0],
                "windows": max(windows_until(run[:half], best[0]) for run in runs),
                "best_away_after_drop": best[1],
                "windows_after_drop": max(windows_until(run[half:], best[1]) for run in runs),
            }


def faster(link: Link, speed: float) -> Link:
    return replace(
        link,
        down_bytes_per_s=link.down_bytes_per_s * speed,
        up_bytes_per_s=link.up_bytes_per_s * speed,
    )


def not_slower(quick: bool) -> Iterator[dict[str, Any]]:
    for case in TABLE[:1] if quick else TABLE:
        for speed in (0.5,) if quick else SPEEDS:
            for noisy in (False, True):
                yield {
                    "kind": "not slower",
                    "case": case.name,
                    "link_over_model": speed,
                    "variation": NOISE if noisy else 0.0,
                    "controller": round(_controller_rate(case.cost, speed, noisy), 4),
                    "cap": round(_cap_rate(case.cost, speed, noisy, timed=True), 4),
                    "cap_copies_not_timed": round(_cap_rate(case.cost, speed, noisy, timed=False), 4),
                }


def _controller_rate(cost: PassCost, speed: float, noisy: bool) -> float:
    """The link's speed is as the model says, but for a factor, and half of it half-way."""
    simulation = SwapSimulation(cost, spread(cost.layers, 0), varying(1) if noisy else exactly)
    simulation.change_link(speed)
    controller, rows, windows = ExpansionController(cost), 0.0, 200
    for at in range(windows):
        if at == windows // 2:
            simulation.change_link(0.5)
        window = simulation.run(controller.window_passes)
        rows += window.rows
        simulation.relayout(controller.update(window))
    return rows / simulation.now_s / rivals.prefix_tier_rate(cost)


def _cap_rate(cost: PassCost, speed: float, noisy: bool, *, timed: bool) -> float:
    # A layout chosen by the model's link, on another.
    expansion = min(max(cost.ceiling(), 1.0), cost.layers / (1 + SLOTS))
    least = resident_blocks(NEAR_BLOCKS, cost.layers, expansion, SLOTS)
    cap = AdmissionCap(least, int(NEAR_BLOCKS * expansion))
    real = replace(cost, link=faster(cost.link, speed))
    simulation = CapSimulation(real, cap, NEAR_BLOCKS, noise=varying(1) if noisy else exactly, timed=timed)
    rows = seconds = 0.0
    for half in range(2):
        if half:
            simulation.cost = replace(real, link=faster(real.link, 0.5))
        more = simulation.run(125)
        rows, seconds = rows + more[0], seconds + more[1]
    return rows / seconds / rivals.prefix_tier_rate(cost)


H200_8B: Final = EngineFacts(32, 16 * GB, 131_072, 100 * GB, 400 * GB, 4.8e12, PCIE5_X16, 18e-6)
ENGINES: Final = {
    "H200, 8B, C=100": H200_8B,
    "H200, 8B, C=20": replace(H200_8B, near_bytes=20 * GB),
    "H200, 70B fp8, C=20": EngineFacts(80, 70 * GB, 163_840, 20 * GB, 400 * GB, 4.8e12, PCIE5_X16, 64e-6),
    "H200, W=120, C=3, chunks of 256": EngineFacts(
        80, 120 * GB, 163_840, 3 * GB, 400 * GB, 4.8e12, PCIE5_X16, 64e-6, chunk_tokens=256
    ),
    "GH200, 80 GB of weights, C=10": EngineFacts(80, 80 * GB, 327_680, 10 * GB, 400 * GB, 4e12, GH200, 64e-6),
}
JOBS: Final = {
    "100 rows, 800 → 40": JobFacts(100, 800, 40),
    "labels, 800 (480 shared) → 8": JobFacts(100_000, 800, 8, 480),
    "800 (280 shared, 300 return) → 40": JobFacts(100_000, 800, 40, 280, 300),
    "descriptions, 2,000 → 300": JobFacts(100_000, 2_000, 300),
    "extracts, 500 → 100": JobFacts(100_000, 500, 100),
    "documents, 4,000 → 400": JobFacts(100_000, 4_000, 400),
    "stories, 100 → 2,000": JobFacts(100_000, 100, 2_000),
}


def decisions(quick: bool) -> Iterator[dict[str, Any]]:
    for engine_name, engine in list(ENGINES.items())[-1 if quick else 0 :]:
        for job_name, job in JOBS.items():
            found = decide(engine, job)
            layers = found.mode is Mode.LAYERS
            yield {
                "kind": "decision",
                "case": engine_name,
                "job": job_name,
                "mode": str(found.mode),
                "expansion": round(found.expansion, 3),
                "gain": round(found.gain, 3),
                "simulated_gain": round(simulated_gain(engine, job, found.away), 3) if layers else None,
                "words": found.words(),
            }


def simulated_gain(engine: EngineFacts, job: JobFacts, away: int) -> float:
    """Rows per second of the simulated engine over those with nothing away, ten times its memory of rows."""
    layout = spread(engine.layers, away)
    load = Load(engine, job)
    rows = min(job.rows, int(10 * layout.expansion * load.near_rows))
    workload = grouped(
        rows,
        1,
        prefix_tokens=int(job.shared_tokens),
        own_tokens=job.prompt_tokens - job.shared_tokens,
        output_tokens=job.output_tokens,
        sigma=0.2,
    )
    time = StepTime(
        engine.kv_token_bytes / engine.device_bytes_per_s,
        0.0,
        0.0,
        engine.weights_bytes / engine.device_bytes_per_s,
        engine.prefill_token_s,
    )
    block_bytes = BLOCK_TOKENS * engine.kv_token_bytes
    rates = []
    for chosen in (spread(engine.layers, 0), layout):
        blocks = int(engine.near_bytes * chosen.expansion / block_bytes)
        limits = Limits(engine.max_rows, engine.chunk_tokens, blocks, BLOCK_TOKENS)
        swapped = SwappedLayers(chosen, engine.link, block_bytes) if chosen.away else None
        rates.append(Simulation(workload, limits, time, transfers=swapped).run().rows_per_s)
    return rates[1] / rates[0]


def gates(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    of = {kind: [row for row in rows if row["kind"] == kind] for kind in {row["kind"] for row in rows}}
    edge, expected = of["edge"], [row for row in of["ceiling"] if row["expected"] is not None]
    starved = next(row for row in of["gh200"] if row["case"] == STARVED.name)
    windows = [row[key] for row in of["controller"] for key in ("windows", "windows_after_drop")]
    off = max(abs(row["closed_form"] - row["expected"]) for row in expected)
    return {
        "closed_form_off_expected": harness.gate(round(off, 4), 0.0075, at_least=False),
        "waits_at_most_0.95_of_ceiling": harness.gate(
            sum(row["waits_below"] for row in edge), 0, at_least=False
        ),
        "least_waits_beyond_1.1_of_ceiling": harness.gate(
            min(row["waits_beyond"] for row in edge if row["waits_beyond"] is not None), 1
        ),
        "gh200_expansion": harness.gate(starved["expansion"], 1.9),
        "gh200_rate": harness.gate(starved["rate"], 1.75),
        "gh200_device_memory": harness.gate(starved["device_memory_without_over_with"], 1.67),
        "gh200_slow_down": harness.gate(starved["slow_down"], MOST_SLOW_DOWN, at_least=False),
        "controller_windows": harness.gate(max(windows), MOST_WINDOWS, at_least=False),
        "not_slower_controller": harness.gate(min(row["controller"] for row in of["not slower"]), 0.98),
        "not_slower_cap": harness.gate(min(row["cap"] for row in of["not slower"]), 0.98),
        "not_slower_decision": harness.gate(
            min(row["simulated_gain"] for row in of["decision"] if row["simulated_gain"] is not None), 0.98
        ),
        "not_slower_ceiling": harness.gate(min(row["rate"] for row in of["ceiling"]), 0.98),
    }


def policy(quick: bool) -> Iterator[dict[str, Any]]:
    """Rows of the simulated part, one after the other."""
    yield from ceilings(quick)
    yield from edges(quick)
    yield from gh200()
    yield from decisions(quick)
    yield from controllers(quick)
    yield from not_slower(quick)


def main() -> None:
    """Measures and reports; exits 0 whatever the gates say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--quick", action="store_true", help="a few small cells, for the tests")
    options = parser.parse_args()
    rows = []
    for row in policy(options.quick):
        rows.append(row)
        print(row, file=sys.stderr, flush=True)
    harness.report(rows, gates(rows), options.json)


if __name__ == "__main__":
    main()
