"""The verb `spark-llm profile`: its arguments, and what it says."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from spark_llm.costmodel.presets import PRESETS

if TYPE_CHECKING:
    import argparse

    from spark_llm.costmodel.fit import Fit

_ARGS_KEY = "spark.llm.engine.args"


def add_arguments(verb: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    verb.add_argument(
        "--conf", action="append", default=[], metavar="KEY=VALUE",
        help="a setting of the engine, as for spark-submit; repeatable",
    )  # fmt: skip
    verb.add_argument(
        "--socket", metavar="PATH",
        help="measure the engine that listens there, instead of one started for it; it needs "
        '{"enable-logging-iteration-details": true} in spark.llm.engine.args',
    )  # fmt: skip
    verb.add_argument(
        "--out", type=Path, metavar="FILE",
        help="write the fit here (default: step-time.json in the user's cache folder)",
    )  # fmt: skip
    verb.add_argument(
        "--rounds", type=int, default=2, metavar="N", help="how often each shape of a batch comes (default 2)"
    )
    verb.add_argument(
        "--prior", choices=sorted(PRESETS), default="h100-8b",
        help="model whose shape fills in what was not seen (default h100-8b)",
    )  # fmt: skip
    verb.add_argument("--seed", type=int, default=7, help="of prompts and order (default 7)")


def run(options: argparse.Namespace) -> int:
    """Measures, writes the file and says what was found; returns the exit status.

    Raises:
        SparkLLMError: the engine cannot be measured, or the file not written.
        SettingError: a setting is no good.
    """
    from spark_llm.catalyst.tree import user_cache
    from spark_llm.costmodel.measure import fit_steps, measure_socket
    from spark_llm.costmodel.store import write_fit
    from spark_llm.engine.started import started_engine
    from spark_llm.errors import engine_failed

    out = options.out or user_cache() / "step-time.json"
    if options.socket:
        model, steps = measure_socket(options.socket, options.rounds, options.seed, _tell)
    else:
        with started_engine(_settings(options.conf)) as socket:
            model, steps = measure_socket(socket, options.rounds, options.seed, _tell)
    fit = fit_steps(steps, PRESETS[options.prior])
    if fit is None:
        raise engine_failed(f"it took {len(steps)} steps only, too few for a fit")
    write_fit(out, fit, model)
    print(fit_text(fit, model, out), end="")
    return 0


def _settings(given: list[str]) -> dict[str, str]:
    """Those of spark-defaults.conf and --conf, with the engine told to say what its steps are."""
    from spark_llm.conf import parse_conf
    from spark_llm.engine.step_recorder import DETAILS_OPTION
    from spark_llm.spark_defaults import read_settings

    settings = {
        key: value for key, value in read_settings(given, os.environ).items() if key.startswith("spark.llm.")
    }
    arguments = parse_conf(settings).get(_ARGS_KEY) or {}
    return {**settings, _ARGS_KEY: json.dumps({**arguments, DETAILS_OPTION: True})}


def _tell(done: int, of: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{done}/{of} batches", end="\n" if done == of else "", file=sys.stderr, flush=True)


def fit_text(fit: Fit, model: str, out: Path) -> str:
    """What was found, for a terminal."""
    found = fit.step_time
    prefill_token_s = found.token_s if found.prefill_token_s is None else found.prefill_token_s
    lines = [
        f"{model}: {fit.records} steps measured, {fit.outliers} outliers left out",
        f"  {found.base_s * 1e3:10.4g} ms  per step",
        f"  {found.sequence_s * 1e6:10.4g} us  per row",
        f"  {found.token_s * 1e6:10.4g} us  per decoded or drafted token",
        f"  {prefill_token_s * 1e6:10.4g} us  per prompt token",
        f"  {found.kv_s * 1e9:10.4g} ns  per KV token read",
        f"R2 {fit.r2_train:.3f}, held out {fit.r2_held_out:.3f}",
        f"Written. To use it: spark.llm.costmodel.path={out}",
    ]
    return "\n".join(lines) + "\n"
