"""From the engine's settings to a policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spark_llm.costmodel.fit import StepFit
from spark_llm.costmodel.presets import H100_8B, NGRAM, PRESETS
from spark_llm.costmodel.step_time import DraftTime
from spark_llm.smartspec.goodput import Goodput
from spark_llm.smartspec.static import Static
from spark_llm.smartspec.value import Value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spark_llm.costmodel.step_time import StepTime
    from spark_llm.smartspec.loop import Limits
    from spark_llm.smartspec.policy import Policy


def policy_of(settings: Mapping[str, Any], limits: Limits, *, looks_up: bool) -> Policy:
    """The policy that the settings name.

    Args:
        settings: `policy`, and `pretend` where steps are to last as long as a preset says.
        limits: of the engine.
        looks_up: False where a draft model drafts, which takes time for every position.
    """
    name, kmax = settings["policy"], limits.draft_tokens
    pretend = pretended(settings)
    time = pretend or H100_8B
    draft = NGRAM if looks_up else DraftTime(depth_s=0.1 * time.base_s, share=0.05)
    if name == "fixed":
        return Static(kmax)
    if name == "goodput":
        return Goodput(time, draft, kmax)
    return Value(time, draft, kmax, fit=None if pretend is not None else StepFit(time))


def pretended(settings: Mapping[str, Any]) -> StepTime | None:
    """The preset that `pretend` names."""
    return PRESETS[settings["pretend"]] if "pretend" in settings else None
