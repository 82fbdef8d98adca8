"""The client of any OpenAI-compatible server: one chat completion per prompt, a bounded number at a time.

    requests ──► slots ──► POST {base}/chat/completions ─┬─► 200: the answer
                             ▲                           ├─► 429, 5xx, no connection: wait, again (5 times)
                             └───────────────────────────┘
                                                         ├─► 400, 413, 422: this row's error
                                                         └─► 401, 403, 404, retries used up: the submit fails

Nothing of it keeps a prompt or the credential: neither is logged, nor a part of a message.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from spark_llm.engine.answers import clip, from_error
from spark_llm.engine.http_client import HttpClient
from spark_llm.engine.openai_form import response_format, unwrap
from spark_llm.engine.retry import MOST_ATTEMPTS, wait_s, worth_again
from spark_llm.engine.too_long import prompt_too_long
from spark_llm.engine.types import EngineAnswer
from spark_llm.engine.wire import messages_of
from spark_llm.errors import SparkLLMError, endpoint_failed, model_not_found, request_rejected

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import httpx

    from spark_llm.engine.types import EngineRequest, Sampling

_READ_TIMEOUT_S = 600.0
# How many bytes of text make a unit of a limit on tokens, before any server has counted them.
_BYTES_PER_UNIT = 4
_OTHER_KEY = "max_completion_tokens"


class OpenAIChatClient(HttpClient):
    """An `EngineClient` for one endpoint and one model.

    Args:
        endpoint: base URL, such as https://host/v1.
        model: the name the endpoint knows the model by.
        credential: sent as a Bearer credential; never written anywhere.
        max_concurrent: requests that may run at the same time.
        sleep: injectable for tests.
        pace: (requests, estimated prompt and answer tokens) -> seconds to wait before they may be sent, of a
            limit that many clients share; called off the event loop, as it may block. None: no limit.
    """

    def __init__(
        self,
        endpoint: str,
        model: str,
        credential: str | None,
        max_concurrent: int,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        pace: Callable[[int, int], float] | None = None,
    ) -> None:
        super().__init__()
        self._endpoint = endpoint.rstrip("/")
        self._model = model
        self._credential = credential
        self._max_concurrent = max_concurrent
        self._sleep = sleep
        self._pace = pace
        self._slots: asyncio.Semaphore | None = None
        self._length_key = "max_tokens"

    async def _answer(self, requests: list[EngineRequest], sampling: Sampling) -> list[EngineAnswer]:
        asks = [asyncio.ensure_future(self._ask(request, sampling)) for request in requests]
        try:
            return list(await asyncio.gather(*asks))
        finally:
            for ask in asks:
                ask.cancel()

    async def _ask(self, request: EngineRequest, sampling: Sampling) -> EngineAnswer:
        form, wrapped = response_format(sampling.constraint)
        if self._slots is None:
            self._slots = asyncio.Semaphore(self._max_concurrent)
        async with self._slots:
            length_key = self._length_key
            response = await self._post(self._body(request, sampling, form), sampling.max_tokens)
            # OpenAI's reasoning models refuse max_tokens by name; most other servers know nothing else.
            if response.status_code == 400 and length_key == "max_tokens" and _OTHER_KEY in response.text:
                self._length_key = _OTHER_KEY
                response = await self._post(self._body(request, sampling, form), sampling.max_tokens)
        if response.status_code == 200:
            return self._read(response, wrapped=wrapped)
        reason = _reason(response)
        if response.status_code == 404:
            raise model_not_found(f"{self._model} at {self._endpoint} ({reason})")
        if response.status_code in {400, 413, 422}:
            return from_error(prompt_too_long(reason, sampling.max_tokens) or request_rejected(reason))
        raise endpoint_failed(self._endpoint, f"HTTP {response.status_code}: {reason}")

    def _body(self, request: EngineRequest, sampling: Sampling, form: dict[str, Any] | None) -> bytes:
        body: dict[str, Any] = {
            "model": self._model,
            "messages": messages_of(request),
            "temperature": sampling.temperature,
            self._length_key: sampling.max_tokens,
        }
        if sampling.seed is not None:
            body["seed"] = sampling.seed
        if form is not None:
            body["response_format"] = form
        return json.dumps(body, ensure_ascii=False).encode(errors="replace")

    async def _post(self, body: bytes, most_answer_tokens: int) -> httpx.Response:
        """The response, after as many attempts as a passing failure is worth.

        Raises:
            SparkLLMError: LLM_RATE_LIMITED or LLM_ENDPOINT_FAILED when all attempts failed.
        """
        import httpx

        reason, status = "", 0
        for attempt in range(1, MOST_ATTEMPTS + 1):
            retry_after = None
            if self._pace is not None:
                units = len(body) // _BYTES_PER_UNIT + most_answer_tokens
                if (wait := await asyncio.to_thread(self._pace, 1, units)) > 0:
                    await self._sleep(wait)
            try:
                response = await self._client().post("/chat/completions", content=body)
                if not worth_again(response.status_code):
                    return response
                status, retry_after = response.status_code, response.headers.get("retry-after")
                reason = f"HTTP {status}: {_reason(response)}"
            except httpx.TransportError as error:
                status, reason = 0, clip(f"{type(error).__name__}: {error}")
            if attempt < MOST_ATTEMPTS:
                await self._sleep(wait_s(attempt, retry_after))
        if status == 429:
            raise SparkLLMError(
                "LLM_RATE_LIMITED",
                {"endpoint": self._endpoint, "attempts": str(MOST_ATTEMPTS), "reason": reason.rstrip(".")},
            )
        raise endpoint_failed(self._endpoint, f"{reason.rstrip('.')} (after {MOST_ATTEMPTS} attempts)")

    def _read(self, response: httpx.Response, *, wrapped: bool) -> EngineAnswer:
        try:
            body = response.json()
            choice = body["choices"][0]
            message = choice["message"]
        except (ValueError, LookupError, TypeError) as error:
            raise endpoint_failed(
                self._endpoint, f"HTTP 200 without a completion: {clip(response.text)}"
            ) from error
        if (text := message.get("content")) is None:
            return from_error(request_rejected(clip(message.get("refusal") or "the model gave no answer")))
        usage = body.get("usage") or {}
        return EngineAnswer(
            unwrap(text) if wrapped else text,
            None,
            None,
            usage.get("prompt_tokens") or 0,
            (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0,
            usage.get("completion_tokens") or 0,
            choice.get("finish_reason"),
        )

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            import httpx

            headers = {"content-type": "application/json"}
            if self._credential is not None:
                headers["authorization"] = f"Bearer {self._credential}"
            self._http = httpx.AsyncClient(
                base_url=self._endpoint,
                headers=headers,
                timeout=httpx.Timeout(_READ_TIMEOUT_S, connect=10.0),
                limits=httpx.Limits(max_connections=self._max_concurrent),
            )
        return self._http


def _reason(response: httpx.Response) -> str:
    """The server's own words, on one line."""
    try:
        body = response.json()
    except ValueError:
        return clip(response.text) or response.reason_phrase
    detail = body.get("error", body.get("detail", body)) if isinstance(body, dict) else body
    return clip(str(detail.get("message", detail) if isinstance(detail, dict) else detail))
