"""How the requests of a call say whether the model thinks: options and settings to `Reasoning`.

    reasoning => 'on' ─┐                     ┌─ chat_template_kwargs, reasoning_effort, …
    model's family ────┴─► modes_of(…).on ───┴─ at most reasoning_budget thinking tokens

A call that says nothing, under settings that say nothing, sends what it always sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from spark_llm.conf import resolve_model
from spark_llm.engine.family import family_for
from spark_llm.engine.thinking import START
from spark_llm.engine.types import Reasoning
from spark_llm.errors import invalid_option

if TYPE_CHECKING:
    from spark_llm.conf import Conf
    from spark_llm.errors import SparkLLMError
    from spark_llm.router.modes import Family
    from spark_llm.worker.command import Call

MODE: Final = "spark.llm.reasoning.mode"
_MODES: Final = "spark.llm.reasoning.modes"


class Modes(NamedTuple):
    """A call's mode, and what its requests say in each; `on` where the model can be told to think."""

    mode: str
    off: Reasoning
    on: Reasoning | None


def modes_of(call: Call, conf: Conf) -> Modes:
    """Returns how a call asks.

    Raises:
        SparkLLMError: LLM_INVALID_OPTION when the call, or the settings, want a mode that the model's family
            does not have, or that nobody knows how to switch on.
    """
    mode = call.reasoning or conf.text(MODE)
    said = call.reasoning is not None or MODE in conf.settings
    if conf.text("spark.llm.engine.kind") == "fake":
        return Modes(mode, Reasoning(), _on(call, conf, {}, own=True))
    model = resolve_model(conf, call.model)
    own = model.endpoint is None
    family = family_for(conf, model.path)
    if family is None:
        if mode == "off":
            return Modes(mode, Reasoning(), None)
        raise _no_mode(mode, model.name, f"a model whose switch is known, or its family in {_MODES}")
    if mode == "off" and family.off is None:
        if said:
            raise _no_mode(mode, model.name, f"'on', as {family.name} always thinks")
        return Modes(mode, Reasoning(), None)
    if mode != "off" and family.on is None:
        raise _no_mode(mode, model.name, f"'off', as {family.name} cannot be told to think")
    if mode == "auto" and not family.switchable:
        raise _no_mode(mode, model.name, f"'on', as {family.name} always thinks")
    # vLLM refuses a budget of thinking where it has no parser.
    enforced = own and family.parser is not None
    if mode != "off" and own and not (enforced or _splits(family, conf)):
        raise _no_mode(mode, model.name, f"'off', or a parser for {family.name} in {_MODES}")
    off = family.request("off") if family.off is not None and (enforced or said) else {}
    on = None if family.on is None else _on(call, conf, family.request("on"), own=enforced)
    return Modes(mode, Reasoning(fields=off), on)


def reasoning_of(modes: Modes) -> Reasoning:
    """Returns what the requests of a call in mode off or on say."""
    return modes.on if modes.mode == "on" and modes.on is not None else modes.off


def _splits(family: Family, conf: Conf) -> bool:
    """Whether thoughts come apart without the family's parser: by their marks, or as the user has said."""
    args = conf.get("spark.llm.engine.args") or {}
    return family.start in {"", START} or any(key.replace("_", "-") == "reasoning-parser" for key in args)


def _on(call: Call, conf: Conf, fields: dict[str, object], *, own: bool) -> Reasoning:
    budget = call.reasoning_budget or conf.integer("spark.llm.reasoning.maxThinkingLen")
    return Reasoning(on=True, fields=fields, budget_tokens=budget, enforced=own)


def _no_mode(mode: str, model: str, expected: str) -> SparkLLMError:
    return invalid_option("reasoning", f"'{mode}' for the model {model}", expected)
