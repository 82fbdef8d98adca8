"""The batch request as both sides know it: what the client sends, the plug-in and the fake server read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spark_llm.engine.types import Constraint, EngineRequest, Sampling

BATCH_PATH = "/spark_llm/v1/batch"
CLOCK_PATH = "/spark_llm/v1/clock"
PROGRESS_PATH = "/spark_llm/v1/progress"
STEPS_PATH = "/spark_llm/v1/steps"
# Under this name vLLM's scheduler finds `Sampling.call` among a request's arguments.
CALL_ARGUMENT = "spark_llm_call"
# And under this one what `EngineRequest.uses` says, in tokens: [plan, tokens, uses, next_rows, tokens, …].
USES_ARGUMENT = "spark_llm_uses"


def messages_of(request: EngineRequest) -> list[dict[str, str]]:
    """The chat messages of one prompt."""
    return [{"role": "system", "content": request.system}, {"role": "user", "content": request.user}]


def reasoning_fields(sampling: Sampling) -> dict[str, Any]:
    """What a request says about thinking and about figures; the budget in vLLM's own word."""
    reasoning = sampling.reasoning
    fields = dict(reasoning.fields)
    if reasoning.on and reasoning.enforced and reasoning.budget_tokens is not None:
        fields["thinking_token_budget"] = reasoning.budget_tokens
    if reasoning.figures:
        fields |= {"logprobs": True, "top_logprobs": 2}
    return fields


def structured_outputs(constraint: Constraint | None) -> dict[str, Any] | None:
    """VLLM's own form of a constraint; None for free text."""
    if constraint is None:
        return None
    if constraint.choice:
        return {"choice": list(constraint.choice)}
    if constraint.regex is not None:
        return {"regex": constraint.regex}
    if constraint.json_schema is not None:
        return {"json": constraint.json_schema}
    return None


def batch_body(requests: Sequence[EngineRequest], sampling: Sampling) -> bytes:
    """The JSON body of one POST.

    The model is not named: an executor's engine serves one, and the caller checked that it is the one meant.
    """
    body: dict[str, Any] = {
        "messages": [messages_of(request) for request in requests],
        "temperature": sampling.temperature,
        "max_tokens": sampling.most_tokens,
        "chat_template_kwargs": {"enable_thinking": sampling.reasoning.on},
        **reasoning_fields(sampling),
    }
    if any(request.priority for request in requests):
        body["priority"] = [request.priority for request in requests]
    if any(request.uses for request in requests):
        body["uses"] = [
            [request.plan, *(number for use in request.uses for number in use)] for request in requests
        ]
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    if sampling.call:
        body["vllm_xargs"] = {CALL_ARGUMENT: sampling.call}
    if (form := structured_outputs(sampling.constraint)) is not None:
        body["structured_outputs"] = form
    return json.dumps(body, ensure_ascii=False).encode(errors="replace")
