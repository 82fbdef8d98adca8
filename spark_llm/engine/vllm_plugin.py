"""vLLM's side of a batch: one more route on its API server, through its own chat code.

    POST /spark_llm/v1/batch {"messages": [[…], …], "priority": […]?, "uses": [[plan, chars, uses, next_rows,
        │                     chars, …], …]?, …any field of a chat completion}
        │ the shared fields are validated once, each conversation becomes a copy
        │ what conversations share (`EngineRequest.uses`) goes to the scheduler, in tokens (prefix_tokens)
        ▼
    OpenAIServingChat.create_chat_completion, all at once      rendering, limits, sampling as for any request
        │ each conversation's failure is its own; a client that goes away cancels all of them
        ▼
    {"results": [{"content", "finish_reason", "prompt_tokens", "cached_prompt_tokens", "generated_tokens",
                  "thinking_tokens"?, "figures"?}
                 | {"error": {"condition", "message"}} | {"again": REASON}, …]}   in the order of messages

GET and POST /spark_llm/v1/clock read and reset the engine's clock, for benchmarks.
GET and POST /spark_llm/v1/steps read and clear what its steps were, for fitting a cost model.
GET /spark_llm/v1/progress tells the supervisor for how long the engine had requests and took no step.

Loaded only where VLLM_PLUGINS names `spark_llm_batch`; it adds a route and changes nothing else.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi.responses import JSONResponse, Response
from prometheus_client import REGISTRY
from starlette.requests import Request
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.serve.engine.protocol import ErrorResponse
from vllm.entrypoints.serve.utils.api_utils import with_cancellation
from vllm.exceptions import VLLMClientError
from vllm.utils import random_uuid
from vllm.v1.engine.exceptions import EngineDeadError

from spark_llm.engine.answers import clip
from spark_llm.engine.clock import EngineClock
from spark_llm.engine.control_text import ControlText, of_tokenizer
from spark_llm.engine.json_grammar import with_fixed_blanks
from spark_llm.engine.prefix_tokens import PrefixTokens
from spark_llm.engine.step_recorder import StepRecorder, context_tokens
from spark_llm.engine.thinking import TokenLogprob, figures_of, thinking_apart
from spark_llm.engine.too_long import prompt_too_long
from spark_llm.engine.vitals import VitalsCollector
from spark_llm.engine.wire import BATCH_PATH, CLOCK_PATH, PROGRESS_PATH, STEPS_PATH
from spark_llm.errors import SparkLLMError, request_rejected

if TYPE_CHECKING:
    from argparse import Namespace

    from fastapi import FastAPI

PLUGIN_NAME = "spark_llm_batch"
# How vLLM words that a request was cancelled: by us, or by a server that shuts down.
DISCONNECTED = "Client disconnected"
# Statuses of what may go well the next time: internal errors, a server that shuts down, a full queue.
_PASSING = frozenset({429, 500, 503})
_CONVERSATION_KEYS = frozenset({"messages", "priority", "uses", "request_id", "stream"})


class BatchEndpoint:
    """Entry point of vLLM's `vllm.endpoint_plugins` group."""

    name = PLUGIN_NAME
    required_tasks = ("generate",)

    def attach_router(self, app: FastAPI) -> None:
        """Adds the route; a second registration under the same path replaces the first."""
        app.add_api_route(BATCH_PATH, answer_batch, methods=["POST"], response_model=None)
        app.add_api_route(CLOCK_PATH, read_clock, methods=["GET"], response_model=None)
        app.add_api_route(CLOCK_PATH, reset_clock, methods=["POST"], response_model=None)
        app.add_api_route(PROGRESS_PATH, read_progress, methods=["GET"], response_model=None)
        app.add_api_route(STEPS_PATH, read_steps, methods=["GET"], response_model=None)
        app.add_api_route(STEPS_PATH, clear_steps, methods=["POST"], response_model=None)

    async def init_state(self, engine_client: Any, state: Any, args: Namespace) -> None:  # noqa: ARG002
        """Starts the clock and the watch on steps; the serving object is looked up on each request."""
        state.spark_llm_clock = EngineClock()
        state.spark_llm_progress = StepRecorder(lambda: context_tokens(engine_client.output_processor))
        state.spark_llm_control = state.spark_llm_prefixes = None
        if (path := _vitals_of(engine_client)) is not None:
            REGISTRY.register(VitalsCollector(path))
        # None where the user said --disable-log-stats: such an engine is not watched.
        if (loggers := getattr(engine_client, "logger_manager", None)) is not None:
            loggers.stat_loggers.append(state.spark_llm_progress)


def _settings_of(engine_client: Any, part: str) -> dict[str, Any]:
    ours = (engine_client.vllm_config.additional_config or {}).get("spark_llm", {})
    settings: dict[str, Any] = ours.get(part, {})
    return settings


def _vitals_of(engine_client: Any) -> Path | None:
    """Where the engine's core process leaves its figures; see `vitals`."""
    paths = (_settings_of(engine_client, technique).get("vitals") for technique in ("speculative", "swap"))
    return next((Path(path) for path in paths if path), None)


async def read_clock(raw_request: Request) -> Response:
    """What `EngineClock.read` says."""
    return JSONResponse(raw_request.app.state.spark_llm_clock.read())


async def read_progress(raw_request: Request) -> Response:
    """{"requests": unfinished ones, "stalled_s": seconds without a step while there were any}."""
    state = raw_request.app.state
    serving = state.openai_serving_chat
    watched = serving is not None and getattr(serving.engine_client, "logger_manager", None) is not None
    requests = serving.engine_client.output_processor.get_num_unfinished_requests() if watched else 0
    return JSONResponse(
        {"requests": requests, "stalled_s": state.spark_llm_progress.stalled_s(requests) if watched else 0.0}
    )


async def read_steps(raw_request: Request) -> Response:
    """{"recording": whether the engine tells, "steps": [a list per `EngineStep`, oldest first]}."""
    state = raw_request.app.state
    config = state.openai_serving_chat.engine_client.vllm_config.observability_config
    return JSONResponse(
        {"recording": config.enable_logging_iteration_details, "steps": state.spark_llm_progress.steps()}
    )


async def clear_steps(raw_request: Request) -> Response:
    """Forgets the steps so far."""
    raw_request.app.state.spark_llm_progress.clear()
    return JSONResponse({})


async def reset_clock(raw_request: Request) -> Response:
    """Resets the clock and empties the prefix cache, so that a measurement starts from nothing."""
    state = raw_request.app.state
    state.spark_llm_clock.reset()
    await state.openai_serving_chat.engine_client.reset_prefix_cache()
    return JSONResponse({})


async def answer_batch(raw_request: Request) -> Response:
    """The route: reads the body, then answers until done or until the client is gone."""
    try:
        batch = _read(json.loads(await raw_request.body()))
    except (ValueError, VLLMClientError) as error:  # pydantic's errors are among the former
        return _refusal(400, clip(str(error)))
    response = await _answer(batch, raw_request)
    return response if response is not None else Response(status_code=499)


class _Batch:
    """A validated body: one request per conversation."""

    def __init__(
        self,
        shared: ChatCompletionRequest,
        messages: list[Any],
        priority: list[int],
        uses: list[list[Any]] | None,
    ) -> None:
        self.shared = shared
        self.messages = messages
        self.priority = priority
        self.uses = uses

    def requests(
        self, max_model_len: int, control: ControlText, *, by_priority: bool
    ) -> list[ChatCompletionRequest]:
        """A copy of the shared request per conversation; validated once, as copying costs a tenth of it.

        Args:
            max_model_len: of the engine, in tokens.
            control: of the engine's tokenizer; rows must not speak with it.
            by_priority: False for an engine that was told to run with another policy; vLLM documents any
                priority but 0 as an error there.
        """
        # vLLM refuses to be asked for more than the whole context; here that just means "all there is".
        length = min(self.shared.max_tokens or max_model_len, max_model_len)
        return [
            self.shared.model_copy(
                update={
                    "messages": [_as_data(message, control) for message in each],
                    "priority": rank * by_priority,
                    "request_id": random_uuid(),
                    "max_tokens": length,
                }
            )
            for each, rank in zip(self.messages, self.priority, strict=True)
        ]


def _read(body: Any) -> _Batch:
    if not isinstance(body, dict):
        raise ValueError("the body is not a JSON object")  # noqa: TRY004  all become HTTP 400
    messages = body.get("messages")
    if not (isinstance(messages, list) and messages and all(map(_is_conversation, messages))):
        raise ValueError(
            '"messages" is not a list of conversations, each a list of {"role": …, "content": TEXT}'
        )
    priority = body.get("priority", [0] * len(messages))
    if not (isinstance(priority, list) and len(priority) == len(messages)):
        raise ValueError('"priority" is not a list of one number per conversation')
    shared = {key: value for key, value in body.items() if key not in _CONVERSATION_KEYS}
    if isinstance(shared.get("structured_outputs"), dict):
        shared["structured_outputs"] = with_fixed_blanks(shared["structured_outputs"])
    uses = body.get("uses")
    if uses is not None and not (isinstance(uses, list) and len(uses) == len(messages)):
        raise ValueError('"uses" is not a list of one list per conversation')
    return _Batch(
        ChatCompletionRequest.model_validate({**shared, "messages": messages[0], "priority": priority[0]}),
        messages,
        priority,
        uses,
    )


def _is_conversation(messages: Any) -> bool:
    return isinstance(messages, list) and all(
        isinstance(message, dict)
        and isinstance(message.get("role"), str)
        and isinstance(message.get("content"), str)
        for message in messages
    )


def _as_data(message: dict[str, str], control: ControlText) -> dict[str, str]:
    """A message whose text is read as text; the system's is the user's own setting."""
    if message["role"] == "system":
        return message
    return {**message, "content": control.split(message["content"])}


@with_cancellation  # type: ignore[untyped-decorator]
async def _answer(batch: _Batch, raw_request: Request) -> Response:
    serving = raw_request.app.state.openai_serving_chat
    if serving is None:
        return _refusal(400, "the model has no chat template")
    limit = serving.model_config.max_model_len
    most_chars = limit * getattr(serving.renderer.tokenizer, "max_chars_per_token", 1 << 40)
    config = serving.engine_client.vllm_config.scheduler_config
    state = raw_request.app.state
    if state.spark_llm_control is None:
        state.spark_llm_control = of_tokenizer(serving.renderer.tokenizer)
    requests = batch.requests(limit, state.spark_llm_control, by_priority=config.policy == "priority")
    if batch.uses is not None and _settings_of(serving.engine_client, "memory").get("uses"):
        state.spark_llm_prefixes = state.spark_llm_prefixes or PrefixTokens(serving)
        await state.spark_llm_prefixes.tell(requests, batch.uses)
    clock = state.spark_llm_clock

    async def timed(request: ChatCompletionRequest) -> dict[str, Any]:
        clock.begin()
        result: dict[str, Any] = {}
        try:
            result = await _one(serving, request, limit, most_chars)
        finally:
            clock.end(result.get("prompt_tokens", 0), result.get("generated_tokens", 0))
        return result

    results = await asyncio.gather(*map(timed, requests))
    return JSONResponse({"results": results})


async def _one(serving: Any, request: ChatCompletionRequest, limit: int, most_chars: int) -> dict[str, Any]:
    """The result of one conversation.

    Raises:
        EngineDeadError: vLLM's handler makes it an HTTP 500 and ends the server.
    """
    chars = sum(len(message["content"]) for message in request.messages)
    if chars > most_chars:
        # Neither rendered nor tokenised, which would keep others waiting: no token is longer than this.
        return _error(
            SparkLLMError(
                "LLM_PROMPT_TOO_LONG",
                {
                    "prompt": f"more than {limit} ({chars} characters)",
                    "limit": limit,
                    "answer": request.max_tokens,
                },
            )
        )
    try:
        answer = await serving.create_chat_completion(request)
    except Exception as error:
        if isinstance(error, EngineDeadError):
            raise
        answer = serving.create_error_response(error)
    if isinstance(answer, ErrorResponse):
        reason = clip(answer.error.message)
        if reason == DISCONNECTED or answer.error.code in _PASSING:
            return {"again": reason}
        return _error(prompt_too_long(reason, request.max_tokens or 0) or request_rejected(reason))
    choice, usage = answer.choices[0], answer.usage
    if choice.finish_reason == "abort":
        # What was there when the engine was told to stop must not pass for an answer.
        return {"again": "the engine stopped while it answered"}
    cached = usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details is not None else 0
    content, thinking_tokens = _apart(choice.message, usage)
    result = {
        "content": content,
        "finish_reason": choice.finish_reason,
        "prompt_tokens": usage.prompt_tokens,
        "cached_prompt_tokens": cached or 0,
        "generated_tokens": usage.completion_tokens or 0,
    }
    if thinking_tokens:
        result["thinking_tokens"] = thinking_tokens
    if choice.logprobs is not None and choice.logprobs.content:
        tokens = [TokenLogprob.of(each.model_dump()) for each in choice.logprobs.content]
        result["figures"] = figures_of(tokens, content)
    return result


def _apart(message: Any, usage: Any) -> tuple[str, int]:
    """The answer without thinking, and how many tokens of thinking came before it."""
    details = usage.completion_tokens_details
    counted = details.reasoning_tokens if details is not None else None
    return thinking_apart(message.reasoning, message.content, counted, usage.completion_tokens or 0)


def _error(error: SparkLLMError) -> dict[str, Any]:
    return {"error": {"condition": error.condition, "message": error.message}}


def _refusal(status: int, message: str) -> Response:
    return JSONResponse({"error": {"message": message}}, status_code=status)
