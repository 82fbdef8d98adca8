"""Whether a job gains from host memory, and how: in order, from what costs nothing to what costs most."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from spark_llm.analyze.numbers import percent
from spark_llm.cache.text import size
from spark_llm.pie.facts import EngineFacts, JobFacts, Load

__all__ = ["Decision", "EngineFacts", "JobFacts", "Mode", "decide"]

MIN_CEILING: Final = 1.05
"""Less added memory is not worth a copy."""
MIN_GAIN: Final = 1.05
"""Predicted rows per second over those without; less is within what predictions err by."""
MIN_DECODE_SHARE: Final = 0.2
"""Of the time; below, prompts take it, and more rows at a time change nothing."""


class Mode(StrEnum):
    """What host memory is used for, as in `spark.llm.swap.mode`."""

    OFF = "off"
    BLOCKS = "blocks"
    LAYERS = "layers"


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, and why.

    Attributes:
        mode: what host memory is used for.
        reason: in words that EXPLAIN and the report can print.
        away: layers that the device has no room for; 0 but for mode `layers`.
        expansion: keys and values in all over those on the device.
        ceiling: of the closed form; 1 where it was not asked for.
        gain: predicted rows per second over those without.
    """

    mode: Mode
    reason: str
    away: int = 0
    expansion: float = 1.0
    ceiling: float = 1.0
    gain: float = 1.0

    def words(self) -> str:
        """Returns the line of EXPLAIN and of the report, without its label."""
        return f"{self.mode}: {self.reason}"


def decide(engine: EngineFacts, job: JobFacts | None = None, mode: Mode | None = None) -> Decision:
    """Decides for a job, or for an engine whose jobs are not known yet.

    In order: nothing where the rows fit, shared prompts counted once; blocks of prefixes that return, where
    bringing a token is cheaper than computing it; nothing where prompts take nearly all of the time; layers,
    behind passes with prompts and passes that only decode, each with what it can hide, if that is worth it.

    Args:
        engine: its figures.
        job: its figures; None: prefixes may return, and nothing else is known.
        mode: what the settings ask for; None: what pays.
    """
    if mode is Mode.OFF:
        return Decision(Mode.OFF, "switched off")
    if job is None:
        return _unknown_job(engine, mode)
    load = Load(engine, job)
    fits = load.wanted_bytes <= engine.near_bytes
    if mode is None and fits and not job.returning_tokens:
        return Decision(Mode.OFF, _fit(load))
    blocks = mode is Mode.BLOCKS or (mode is None and load.fetch_gain() >= MIN_GAIN)
    if blocks:
        return _blocks(load)
    if mode is None and fits:
        return Decision(Mode.OFF, f"{_fit(load)}, and prefixes that return are {_fetch(engine)}")
    if mode is None and load.decode_share() < MIN_DECODE_SHARE:
        return Decision(
            Mode.OFF,
            f"decoding is {percent(load.decode_share())} of the time: prompts take it, and more rows at a "
            "time would not help",
        )
    return _layers(load, forced=mode is Mode.LAYERS)


def _unknown_job(engine: EngineFacts, mode: Mode | None) -> Decision:
    if mode is Mode.LAYERS:
        cost = Load(engine, JobFacts(engine.max_rows, 1, 1)).cost
        away = cost.best_away() or max(cost.aways()[:2])
        return Decision(
            Mode.LAYERS,
            f"{_away(engine, away)}, {cost.expansion(away):.2f} × memory ({_ceiling(cost.ceiling())} while "
            "it decodes)",
            away,
            cost.expansion(away),
            cost.ceiling(),
        )
    if mode is None and engine.fetch_token_s() >= engine.prefill_token_s:
        return Decision(Mode.OFF, f"prefixes that return are {_fetch(engine)}")
    return Decision(Mode.BLOCKS, f"prefixes that return are {_fetch(engine)}")


def _blocks(load: Load) -> Decision:
    job = load.job
    tokens = f"{job.returning_tokens:,.0f} of {job.prompt_tokens:,.0f} prompt tokens return"
    gain = load.fetch_gain()
    return Decision(
        Mode.BLOCKS, f"{tokens} and are {_fetch(load.engine)}: {gain:.2f} × rows per second", gain=gain
    )


def _layers(load: Load, *, forced: bool) -> Decision:
    engine, cost = load.engine, load.cost
    allowed = [away for away in cost.aways() if _host_bytes(load, away) <= engine.host_bytes]
    # More memory than the rows need is of no use.
    enough = next((away for away in allowed if _holds(load, away)), allowed[-1])
    away = max((away for away in allowed if away <= enough), key=load.gain)
    if forced and not away:
        away = allowed[min(1, len(allowed) - 1)]
    ceiling, gain, expansion = cost.ceiling(), load.gain(away), cost.expansion(away)
    if forced or gain >= MIN_GAIN:
        under = "behind decoding" if expansion <= ceiling else "behind prompts"
        found = (
            f"{_away(engine, away)}, hidden {under}, {expansion:.2f} × memory ({_ceiling(ceiling)}), "
            f"{gain:.2f} × rows per second"
        )
        return Decision(Mode.LAYERS, found, away, expansion, ceiling, gain)
    if len(allowed) == 1:
        reason = f"{size(int(engine.host_bytes))} of host memory hold no layers"
    elif ceiling < MIN_CEILING:
        reason = f"decoding would hide copies of up to {ceiling:.3f} × memory, under {MIN_CEILING}"
    else:
        reason = f"layers away would give {gain:.2f} × rows per second at most, under {MIN_GAIN}"
    return Decision(Mode.OFF, reason, ceiling=ceiling)


def _host_bytes(load: Load, away: int) -> float:
    """Host memory for the swapped layers, those in slots included."""
    cost = load.cost
    return (away + cost.slots) * cost.layer_bytes(away) if away else 0.0


def _holds(load: Load, away: int) -> bool:
    return load.engine.near_bytes * load.cost.expansion(away) >= load.wanted_bytes


def _fit(load: Load) -> str:
    shared = ", the shared prompt once" if load.job.shared_tokens else ""
    return (
        f"all {load.wanted_rows:,} rows at a time fit: {size(int(load.wanted_bytes))} of "
        f"{size(int(load.engine.near_bytes))}{shared}"
    )


def _fetch(engine: EngineFacts) -> str:
    fetch_us, compute_us = 1e6 * engine.fetch_token_s(), 1e6 * engine.prefill_token_s
    verb = "brought back" if fetch_us < compute_us else "computed again"
    return f"{verb} ({fetch_us:.1f} µs a token to bring, {compute_us:.1f} to compute)"


def _away(engine: EngineFacts, away: int) -> str:
    return f"{away} of {engine.layers} layers away"


def _ceiling(expansion: float) -> str:
    return f"ceiling {expansion:.2f}" if math.isfinite(expansion) else "no ceiling"
