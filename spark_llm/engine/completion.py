"""What an OpenAI-compatible response means: an answer, this row's error, or trouble that may pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spark_llm.engine.answers import clip, from_error
from spark_llm.engine.openai_form import unwrap
from spark_llm.engine.retry import worth_again
from spark_llm.engine.thinking import TokenLogprob, figures_of, thinking_apart
from spark_llm.engine.types import AnswerFigures, EngineAnswer
from spark_llm.errors import request_rejected

if TYPE_CHECKING:
    import httpx

RATE_LIMITED = "LLM_RATE_LIMITED"
ENDPOINT_FAILED = "LLM_ENDPOINT_FAILED"
RESPONSE_INVALID = "LLM_RESPONSE_INVALID"
# How servers that always say 200 name in the body what others say by status.
_STATUS_OF_TYPE = {
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "server_error": 500,
    "internal_server_error": 500,
    "overloaded_error": 503,
    "service_unavailable": 503,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "permission_error": 403,
}


@dataclass(frozen=True, slots=True)
class Trouble:
    """No answer, and a reason to send the request again.

    Attributes:
        condition: of the row, or of the endpoint, should no retry help.
        reason: in words.
        retry_after: the header, as it came.
        usage: tokens that the response says were spent: prompt, cached of them, generated.
        probe: the request went for all that wait at the open breaker, and is not counted against its row.
    """

    condition: str
    reason: str
    retry_after: str | None = None
    usage: tuple[int, int, int] = (0, 0, 0)
    probe: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """An HTTP status other than 200 that will not pass: by header, or in the body of a 200."""

    status: int
    reason: str


def read_response(response: httpx.Response, *, wrapped: bool) -> EngineAnswer | Trouble | Refusal:
    """Reads a response of /chat/completions.

    Args:
        response: with its body.
        wrapped: the answer comes as {"value": …}; see `openai_form`.
    """
    status, body = response.status_code, _json(response)
    if status == 200 and isinstance(body, dict) and "choices" not in body and body.get("error"):
        status = _status_in(body["error"])
    elif status == 200:
        return _completion(response, body, wrapped=wrapped)
    reason = reason_of(response)
    if status == 429:
        return Trouble(RATE_LIMITED, f"HTTP 429: {reason}", response.headers.get("retry-after"))
    if worth_again(status):
        return Trouble(ENDPOINT_FAILED, f"HTTP {status}: {reason}", response.headers.get("retry-after"))
    return Refusal(status, reason)


def reason_of(response: httpx.Response) -> str:
    """The server's own words, on one line."""
    body = _json(response)
    if body is None:
        return clip(response.text) or response.reason_phrase
    detail = body.get("error") or body.get("detail", body) if isinstance(body, dict) else body
    return clip(str(detail.get("message", detail) if isinstance(detail, dict) else detail))


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except (ValueError, RecursionError):
        return None


def _status_in(error: Any) -> int:
    """The status that an error object stands for; 400 where it names none: then it is about this row."""
    if isinstance(error, dict):
        for key in ("code", "status", "type"):
            value = error.get(key)
            if isinstance(value, int) or (isinstance(value, str) and value.isdigit()):
                return int(value)
            if isinstance(value, str) and value in _STATUS_OF_TYPE:
                return _STATUS_OF_TYPE[value]
    return 400


def _completion(response: httpx.Response, body: Any, *, wrapped: bool) -> EngineAnswer | Trouble:
    try:
        choice = body["choices"][0]
        message = choice["message"]
        text, finish = message.get("content"), choice.get("finish_reason")
        refusal = message.get("refusal")
    except (LookupError, TypeError, AttributeError):
        kind = "that is no JSON" if body is None else "without a completion"
        return Trouble(RESPONSE_INVALID, f"HTTP 200 {kind}: {clip(response.text, 200)}", None, _usage(body))
    prompt, cached, generated = _usage(body)
    counted = _thinking_tokens(body)
    if text is None and (message.get("reasoning") or message.get("reasoning_content") or counted):
        text = ""  # all that it was allowed went into thinking
    if text is None:
        refused = from_error(request_rejected(clip(str(refusal or "the model gave no answer"))))
        return EngineAnswer(None, refused.condition, refused.message, prompt, cached, generated, None)
    if not isinstance(text, str):
        return Trouble(RESPONSE_INVALID, "HTTP 200 with a content that is no text", None, _usage(body))
    thought = message.get("reasoning") or message.get("reasoning_content")
    text, thinking = thinking_apart(thought, text, counted, generated)
    return EngineAnswer(
        unwrap(text) if wrapped else text, None, None, prompt, cached, generated, finish,
        thinking_tokens=thinking, figures=_figures(choice, text),
    )  # fmt: skip


def _figures(choice: dict[str, Any], text: str) -> AnswerFigures | None:
    try:
        return figures_of([TokenLogprob.of(entry) for entry in choice["logprobs"]["content"]], text)
    except (LookupError, TypeError, ValueError):
        return None  # not asked for, or not known there


def _thinking_tokens(body: dict[str, Any]) -> int:
    usage = body.get("usage")
    details = usage.get("completion_tokens_details") if isinstance(usage, dict) else None
    return _count(details.get("reasoning_tokens")) if isinstance(details, dict) else 0


def _usage(body: Any) -> tuple[int, int, int]:
    usage = body.get("usage") if isinstance(body, dict) else None
    if not isinstance(usage, dict):
        return 0, 0, 0
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else 0
    return _count(usage.get("prompt_tokens")), _count(cached), _count(usage.get("completion_tokens"))


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value >= 0 else 0
