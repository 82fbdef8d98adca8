"""The two arms of `models => 'small,large'`: what requests of each say, and which model answers them.

small ─► every row, first          its log-probabilities and lengths are the router's signals
large ─► the rows it chooses       one is the executor's engine, or both are endpoints: see `RoutedClient`
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from spark_llm.engine.types import Reasoning
from spark_llm.worker.reasoning import modes_of, reasoning_of

if TYPE_CHECKING:
    from spark_llm.conf import Conf
    from spark_llm.worker.command import Call


@dataclass(frozen=True, slots=True)
class Arm(Reasoning):
    """What requests to one of two models say.

    Attributes:
        model: as the call names it.
        costly: it is the second of the two.
    """

    model: str | None = None
    costly: bool = False


def arms_of(call: Call, conf: Conf) -> tuple[Arm, Arm]:
    """Returns the arms of a call with two models, the cheap one first; each in the call's reasoning mode.

    Raises:
        SparkLLMError: LLM_INVALID_OPTION when a model does not have that mode, LLM_MODEL_NOT_FOUND when it
            is neither the engine's own nor has an endpoint.
    """
    cheap, costly = call.models
    return _arm(call, conf, cheap, costly=False), _arm(call, conf, costly, costly=True)


def _arm(call: Call, conf: Conf, model: str, *, costly: bool) -> Arm:
    said = reasoning_of(modes_of(replace(call, model=model), conf))
    return Arm(said.on, said.fields, said.budget_tokens, said.enforced, model=model, costly=costly)
