"""Which draft lengths answer most rows per second? Policies in the simulated engine, cell by cell.

The engine is `spark_llm.costmodel.simulate` with the published step time of an 8B model on an H100; drafts
come from n-gram look-up (9 % of a step) and are right with a probability that differs from row to row (Beta
with concentration 20). Prompts have 800 tokens, 480 of them shared. A cell's figure is rows per second over
those without speculation.

    stationary     batch × acceptance × answer length
    drifting       acceptance falls, fades, or falls and returns, with the number of the row; 1,024 tokens of
                   context and no prompts to compute, and once more with prompts
    adversarial    acceptance alternates every 20 and every 50 steps
    dear prompts   the price of a prompt token is 30 µs instead of 18
    published      1,024 tokens of context and no prompts to compute, as in the published comparison

Whether a token of an answer can be foreseen is drawn once for all policies. The oracle is our policy with the
true acceptance. `best` is the best of none, 1, 3, 5 and 7 for the cell, over its whole run. Batch-size table:
what the published step time gives for acceptance 0.7.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import harness
import numpy as np

from spark_llm.costmodel.presets import EAGLE, H100_8B, NGRAM
from spark_llm.costmodel.simulate.acceptance import Acceptance, Alphas, alternating, beta_alphas
from spark_llm.costmodel.simulate.engine import Limits, Simulation
from spark_llm.costmodel.simulate.workload import grouped
from spark_llm.costmodel.step_time import DraftTime, StepTime
from spark_llm.smartspec.goodput import Goodput
from spark_llm.smartspec.marginal import Cost, choose
from spark_llm.smartspec.oracle import Oracle
from spark_llm.smartspec.policy import Policy, Step, StepResult
from spark_llm.smartspec.static import ByBatchSize, Static
from spark_llm.smartspec.value import Value

KMAX: Final = 7
CHUNK_TOKENS: Final = 2048
BATCHES: Final = (1, 8, 32, 64, 128, 256, 512)
ACCEPTANCES: Final = (0.3, 0.5, 0.7, 0.9)
ANSWER_TOKENS: Final = (8, 40, 120)
CONSTANTS: Final = ("none", "k=1", "k=3", "k=5", "k=7")
OTHERS: Final = ("table", "goodput", "goodput, decode only")
OURS: Final = "value"
POLICIES: Final = (*CONSTANTS, *OTHERS, OURS, "oracle")
MOST: Final = tuple(name for name in POLICIES if name != "goodput, decode only")
FEWER: Final = (*CONSTANTS, OURS)
TABLE: Final = ((1, 16, 7), (17, 48, 5), (49, 96, 3), (97, 384, 2), (385, 1024, 1))
PUBLISHED: Final = {0.7: 1.12, 0.8: 1.19, 0.9: 1.34}
PUBLISHED_BATCH: Final = 12
"""Rows at which the step time gives the 1,727 tokens/s that the published file has without speculation."""


@dataclass(frozen=True)
class Cell:
    """One workload on one engine."""

    kind: str
    batch: int
    acceptance: str
    answer_tokens: int
    alphas: Callable[[int, int], Any]
    time: StepTime = H100_8B
    draft: DraftTime = NGRAM
    prefix_tokens: int = 480
    own_tokens: int = 320

    def simulation(self, tokens: int, seed: int) -> Simulation:
        """An engine that has not begun."""
        rows = max(4 * self.batch, min(tokens, 3_000 * self.batch) // self.answer_tokens)
        workload = grouped(
            rows,
            seed,
            prefix_tokens=self.prefix_tokens,
            own_tokens=self.own_tokens,
            output_tokens=self.answer_tokens,
        )
        acceptance = Predictable(self.alphas(rows, seed), int(workload.output_tokens.max()), rows, seed)
        limits = Limits(self.batch, CHUNK_TOKENS)
        return Simulation(workload, limits, self.time, acceptance, self.draft, seed)


class Predictable(Acceptance):
    """Whether a token of an answer can be foreseen is drawn once, so that all policies meet the same luck."""

    def __init__(self, alpha: Any, longest: int, rows: int, seed: int) -> None:
        super().__init__(alpha, KMAX)
        self._luck = np.random.default_rng(seed).random((rows, longest + KMAX + 1), dtype=np.float32)

    def draw(self, rows: Any, generated: Any, step: int, drafted: Any, rng: Any) -> Any:  # noqa: ARG002
        """See `Acceptance.draw`."""
        at = np.minimum(generated[:, None] + np.arange(KMAX), self._luck.shape[1] - 1)
        right = self._luck[rows[:, None], at] < self.alphas(rows, generated, step)[:, None]
        return np.minimum(np.logical_and.accumulate(right, axis=1).sum(axis=1), drafted)


def policy(name: str, cell: Cell, simulation: Simulation) -> Policy:
    if name in CONSTANTS:
        return Static(0 if name == "none" else int(name[2:]))
    if name == "table":
        return ByBatchSize(TABLE)
    if name.startswith("goodput"):
        return Goodput(cell.time, cell.draft, KMAX, decode_only=name != "goodput")
    if name == "oracle":
        return Oracle(cell.time, cell.draft, KMAX, simulation.survival)
    return Value(cell.time, cell.draft, KMAX)


def stationary(mean: float) -> Callable[[int, int], Any]:
    return lambda rows, seed: beta_alphas(rows, mean, seed)


def constant(alpha: float) -> Callable[[int, int], Any]:
    """The same for all rows."""
    return lambda rows, _seed: np.full(rows, alpha)


def drifting(*means: float) -> Callable[[int, int], Any]:
    """Means at evenly spread row numbers: a step where one follows itself, else a line between two."""

    def alphas(rows: int, seed: int) -> Any:
        mean = np.interp(np.linspace(0, 1, rows), np.linspace(0, 1, len(means)), means)
        return np.random.default_rng(seed).beta(20 * mean, 20 * (1 - mean))

    return alphas


def falling(*means: float) -> Callable[[int, int], Any]:
    """Means of runs of rows, of equal size."""

    def alphas(rows: int, seed: int) -> Any:
        mean = np.array(means)[np.arange(rows) * len(means) // rows]
        return np.random.default_rng(seed).beta(20 * mean, 20 * (1 - mean))

    return alphas


def adversarial(period_steps: int) -> Callable[[int, int], Alphas]:
    return lambda _rows, _seed: alternating(0.8, 0.3, period_steps)


DRIFTS: Final = {
    "0.8, then 0.3": falling(0.8, 0.3),
    "0.8 to 0.3": drifting(0.8, 0.3),
    "0.8, 0.3, 0.8": falling(0.8, 0.3, 0.8),
    "0.9, then 0.1": falling(0.9, 0.1),
}


def cells(quick: bool) -> Iterator[Cell]:
    batches = (32,) if quick else BATCHES
    acceptances = (0.9,) if quick else ACCEPTANCES
    answers = (8, 40) if quick else ANSWER_TOKENS
    for batch in batches:
        for mean in acceptances:
            for answer in answers:
                yield Cell("stationary", batch, str(mean), answer, stationary(mean))
    drifts = list(DRIFTS.items())[: 1 if quick else None]
    for batch in batches:
        for name, alphas in drifts:
            yield Cell("drifting", batch, name, 120, alphas, prefix_tokens=1008, own_tokens=8)
        for period in (20,) if quick else (20, 50):
            name = f"0.8 / 0.3 every {period} steps"
            yield Cell("adversarial", batch, name, 120, adversarial(period))
    for mean in PUBLISHED:
        for draft, batch in ((NGRAM, PUBLISHED_BATCH), (EAGLE, PUBLISHED_BATCH), (NGRAM, 256)):
            kind = f"published, {'draft model' if draft is EAGLE else 'n-gram'}"
            if batch > PUBLISHED_BATCH and quick:
                continue
            yield Cell(kind, batch, str(mean), 200, constant(mean), H100_8B, draft, 1008, 8)
    for batch in batches:
        for name, alphas in drifts:
            for answer in answers[1:]:
                yield Cell("drifting, prompts", batch, name, answer, alphas)
    dear = replace(H100_8B, prefill_token_s=30e-6)
    for batch in batches:
        for mean in (0.9,) if quick else (0.5, 0.9):
            for answer in answers:
                yield Cell("dear prompts", batch, str(mean), answer, stationary(mean), dear)


def measure(cell: Cell, names: tuple[str, ...], tokens: int, seed: int) -> dict[str, Any]:
    per_s = {}
    for name in names:
        simulation = cell.simulation(tokens, seed)
        per_s[name] = simulation.run(policy(name, cell, simulation)).rows_per_s
    plain = per_s["none"]
    best = max(CONSTANTS, key=lambda name: per_s[name])
    return {
        "kind": cell.kind,
        "batch": cell.batch,
        "acceptance": cell.acceptance,
        "answer_tokens": cell.answer_tokens,
        "rows_per_s_none": round(plain, 2),
        **{name: round(per_s[name] / plain, 4) for name in names if name != "none"},
        "best": best,
        "value_over_best": round(per_s[OURS] / per_s[best], 4),
        **({"value_over_oracle": round(per_s[OURS] / per_s["oracle"], 4)} if "oracle" in per_s else {}),
    }


def steps_to_adapt(batch: int, before: float, after: float, seed: int) -> int:
    """Steps after a change until ten steps in a row yield 95 % of the rate that is possible, on average."""
    rng = np.random.default_rng(seed)
    chosen = Value(H100_8B, NGRAM, KMAX)
    slots, context = np.arange(batch), 1024
    drafts, none = np.full(batch, KMAX), np.zeros(batch, np.int64)
    shares: list[float] = []
    warm, horizon = 150, 120
    for at in range(warm + horizon):
        alpha = before if at < warm else after
        lengths = chosen.draft_lengths(Step(slots, drafts, none, batch * context, 0, 0, CHUNK_TOKENS))
        accepted = np.minimum(rng.geometric(1 - alpha, batch) - 1, lengths)
        tokens = batch + int(lengths.sum())
        step_s = H100_8B.predict(batch * context, tokens, batch)
        draft_s = NGRAM.predict(step_s, int(np.count_nonzero(lengths)), tokens - batch, int(lengths.max()))
        if at >= warm:
            expected = ((1 - alpha ** (lengths + 1)) / (1 - alpha)).sum()
            shares.append(expected / (step_s + draft_s) / _best_rate(batch, alpha, context))
        chosen.observe(
            StepResult(
                slots, lengths, accepted, none, batch * context, tokens, 0, batch, step_s, draft_s
            )
        )  # fmt: skip
    means = np.convolve(shares, np.full(10, 0.1), mode="valid")
    good = np.flatnonzero(means >= 0.95)
    return int(good[0]) if len(good) else horizon


@functools.cache
def _best_rate(batch: int, alpha: float, context: int) -> float:
    plain_s = H100_8B.predict(batch * context, batch, batch)
    survival = np.cumprod(np.full((KMAX, batch), alpha), axis=0)
    share = 1 + NGRAM.share
    cost = Cost(plain_s * share, H100_8B.token_s * share, 0, CHUNK_TOKENS - batch, 0.0)
    return max(batch / plain_s, choose(survival, cost).tokens_per_s)


def adaptation(quick: bool) -> list[dict[str, Any]]:
    rows = []
    for batch in (32,) if quick else BATCHES:
        for before, after in ((0.8, 0.3), (0.3, 0.8), (0.05, 0.8), (0.9, 0.05)):
            steps = [steps_to_adapt(batch, before, after, seed) for seed in range(1 if quick else 5)]
            rows.append(
                {
                    "kind": "change",
                    "batch": batch,
                    "acceptance": f"{before} to {after}",
                    "steps": statistics.median(steps),
                    "steps_worst_seed": max(steps),
                }
            )
    return rows


def decision_ms(batch: int, drafts: int, prefill_tokens: int, forced: int, calls: int) -> float:
    """Median time of a decision on this machine, rows that differ in acceptance."""
    rng = np.random.default_rng(0)
    chosen = Value(H100_8B, NGRAM, KMAX)
    slots, none = np.arange(batch), np.zeros(batch, np.int64)
    alphas = rng.beta(14, 6, batch)
    most = rng.integers(drafts, KMAX + 1, batch)
    sure = np.minimum(rng.integers(0, forced + 1, batch), most)
    step = Step(slots, most, sure, batch * 800, prefill_tokens, 16 if prefill_tokens else 0, CHUNK_TOKENS)
    took = []
    for _ in range(calls):
        began = time.perf_counter()
        lengths = chosen.draft_lengths(step)
        took.append(time.perf_counter() - began)
        accepted = np.minimum(rng.geometric(1 - alphas) - 1, lengths)
        tokens = batch + int(lengths.sum())
        step_s = H100_8B.predict(batch * 800, tokens, batch)
        chosen.observe(
            StepResult(
                slots, lengths, accepted, none, batch * 800, tokens, 0, batch, step_s, NGRAM.share * step_s
            )
        )  # fmt: skip
    return 1000 * statistics.median(took)


def decisions(quick: bool) -> list[dict[str, Any]]:
    rows = []
    for batch in BATCHES[-1:] if quick else (1, 64, 512):
        for name, drafts, prefill_tokens, forced in (
            ("all rows have 7 drafts", KMAX, 0, 0),
            ("prompts wait", KMAX, 600, 0),
            ("rows have 0 to 7 drafts", 0, 0, 0),
            ("a grammar forces some", KMAX, 0, 3),
        ):
            took = decision_ms(batch, drafts, prefill_tokens, forced, 50 if quick else 1000)
            rows.append({"kind": "decision", "batch": batch, "acceptance": name, "ms": round(took, 4)})
    return rows


def gates(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """All from the rows of this run."""

    def of(kind: str) -> list[dict[str, Any]]:
        return [row for row in rows if row["kind"].startswith(kind)]

    drifts = of("drifting")
    simulated = [row for row in rows if OURS in row]
    found = {
        "of_none_in_every_cell": harness.gate(min(row[OURS] for row in simulated), 0.97),
        "of_best_constant_in_every_stationary_cell": harness.gate(
            min(row["value_over_best"] for row in of("stationary")), 0.97
        ),
        "of_best_constant_with_dear_prompts": harness.gate(
            min(row["value_over_best"] for row in of("dear prompts")), 0.97
        ),
        "mean_of_best_constant_in_drifting_cells": harness.gate(
            statistics.mean(row["value_over_best"] for row in drifts if row["kind"] == "drifting"), 1.05
        ),
        "mean_of_best_constant_in_drifting_cells_with_prompts": harness.gate(
            statistics.mean(row["value_over_best"] for row in drifts if row["kind"] != "drifting"), 1.05
        ),
        "mean_of_oracle_in_drifting_cells_with_prompts": harness.gate(
            statistics.mean(row["value_over_oracle"] for row in drifts if row["kind"] != "drifting"), 0.97
        ),
        "steps_to_adapt": harness.gate(max(row["steps"] for row in of("change")), 40, at_least=False),
        "decision_ms_at_512": harness.gate(
            max(row["ms"] for row in of("decision") if row["batch"] == 512), 0.1, at_least=False
        ),
    }
    for mean, target in PUBLISHED.items():
        worst = min(row[OURS] for row in of("published") if row["acceptance"] == str(mean))
        found[f"over_none_at_acceptance_{mean}"] = harness.gate(worst, target)
    return found


def main() -> None:
    """Measures and reports; exits 0 whatever the gates say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--quick", action="store_true", help="a few small cells, for the tests")
    parser.add_argument("--tokens", type=int, help="answer tokens of a cell, at least four batches of rows")
    options = parser.parse_args()
    tokens = options.tokens or (600 if options.quick else 8_000)
    rows = decisions(options.quick) + adaptation(options.quick)
    for cell in cells(options.quick):
        names = POLICIES if cell.kind == "stationary" else FEWER if cell.kind == "dear prompts" else MOST
        rows.append(measure(cell, names, tokens, seed=1))
        print(rows[-1], file=sys.stderr, flush=True)
        if options.json is not None:
            harness.write(rows, {}, options.json)
    harness.report(rows, gates(rows), options.json)


if __name__ == "__main__":
    main()
