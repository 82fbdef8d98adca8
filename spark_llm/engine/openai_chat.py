"""The client of any OpenAI-compatible server: one chat completion per prompt, a bounded number at a time.

    requests ──► slots ──► breaker, pace ──► POST {base}/chat/completions ─┬─► 200: the answer
                             ▲                                             │
                             └── wait, again (spark.llm.errors.maxRetries) ┼── 429, 5xx, no connection,
                                                                           │   too slow, no completion in it
                                                                           ├─► 400, 413, 422: this row's error
                                                                           └─► 401, 403, 404: the submit fails

Retries used up: the row's error when the endpoint answered others meanwhile, or answered this one with
something that is no completion; the submit fails when it answered nobody, or when the breaker gives up.

Nothing of it keeps a prompt or the credential: neither is logged, nor a part of a message.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from typing import TYPE_CHECKING, Any

from spark_llm.engine.answers import clip, from_error
from spark_llm.engine.breaker import Breaker
from spark_llm.engine.completion import (
    ENDPOINT_FAILED,
    RATE_LIMITED,
    RESPONSE_INVALID,
    Refusal,
    Trouble,
    read_response,
)
from spark_llm.engine.control_text import WELL_KNOWN
from spark_llm.engine.http_client import HttpClient
from spark_llm.engine.openai_form import response_format
from spark_llm.engine.redact import without_credential, without_rows
from spark_llm.engine.retry import asked_s, wait_s
from spark_llm.engine.thinking import told
from spark_llm.engine.too_long import prompt_too_long
from spark_llm.engine.types import EngineAnswer
from spark_llm.engine.wire import messages_of, reasoning_fields
from spark_llm.errors import SparkLLMError, endpoint_failed, model_not_found, request_rejected

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import httpx

    from spark_llm.engine.types import EngineRequest, Sampling

    Pace = Callable[[int, int], float]

_OTHER_KEY = "max_completion_tokens"
# How many bytes of text make a unit of a limit on tokens, before any server has counted them.
_BYTES_PER_UNIT = 4
_ALWAYS_ROWS_OWN = frozenset({RESPONSE_INVALID})


class OpenAIChatClient(HttpClient):
    """An `EngineClient` for one endpoint and one model.

    Args:
        endpoint: base URL, such as https://host/v1.
        model: the name the endpoint knows the model by.
        credential: sent as a Bearer credential; never written anywhere.
        max_concurrent: requests that may run at the same time.
        sleep: injectable for tests.
        max_retries: how often a request is sent again at most.
        timeout_s: how long a request may take from connecting to the end of the response.
        pace: (requests, estimated prompt and answer tokens) -> seconds to wait before they may be sent, of a
            limit that many clients share; called off the event loop, as it may block. None: no limit.
        now: monotonic seconds, for the circuit breaker.
    """

    def __init__(  # noqa: PLR0913  limits and injected clocks, all but four by name
        self,
        endpoint: str,
        model: str,
        credential: str | None,
        max_concurrent: int,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        *,
        max_retries: int = 5,
        timeout_s: float = 600.0,
        pace: Pace | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._endpoint = endpoint.rstrip("/")
        self._model = model
        self._credential = credential
        self._max_concurrent = max_concurrent
        self._sleep = sleep
        self._max_retries = max_retries
        self._timeout_s = timeout_s
        self._pace = pace
        self._breaker = Breaker(max_retries, now)
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
        if self._slots is None:
            self._slots = asyncio.Semaphore(self._max_concurrent)
        async with self._slots:
            return await self._until_answered(request, sampling)

    async def _until_answered(self, request: EngineRequest, sampling: Sampling) -> EngineAnswer:
        """One row's outcome, after as many attempts as a passing failure is worth.

        Raises:
            SparkLLMError: the endpoint failed as a whole.
        """
        form, wrapped = response_format(sampling.constraint)
        answered_before, attempt, probes, spent = self._breaker.answered, 0, 0, (0, 0, 0)
        while True:
            length_key = self._length_key
            outcome = await self._post(self._body(request, sampling, form, length_key), sampling, wrapped)
            if isinstance(outcome, EngineAnswer):
                answer = told(self._clean(outcome, request), sampling.reasoning)
                return _with_retries(answer, attempt, spent)
            outcome = dataclasses.replace(outcome, reason=self._hide(outcome.reason, request))
            if isinstance(outcome, Refusal):
                # OpenAI's reasoning models refuse max_tokens by name; most other servers know nothing else.
                if length_key == "max_tokens" and outcome.status == 400 and _OTHER_KEY in outcome.reason:
                    self._length_key = _OTHER_KEY
                    continue
                return _with_retries(self._refused(outcome, sampling), attempt, spent)
            spent = _sum(spent, outcome.usage)
            attempt, probes = attempt + 1, probes + outcome.probe
            if attempt - probes > self._max_retries:
                others_answered = self._breaker.answered > answered_before
                error = self._used_up(outcome, attempt)
                if outcome.condition not in _ALWAYS_ROWS_OWN and not others_answered:
                    raise error
                return _with_retries(from_error(error), attempt - 1, spent)
            wait = 0.0 if outcome.probe else wait_s(attempt, outcome.retry_after)
            if (asked := asked_s(outcome.retry_after)) is not None:
                self._breaker.pause(asked)
            await self._sleep(wait)

    def _refused(self, refusal: Refusal, sampling: Sampling) -> EngineAnswer:
        status, reason = refusal.status, refusal.reason
        if status == 404:
            raise model_not_found(f"{self._model} at {self._endpoint} ({reason})")
        if status in {400, 413, 422}:
            return from_error(prompt_too_long(reason, sampling.max_tokens) or request_rejected(reason))
        hint = "; redirects are not followed" if 300 <= status < 400 else ""
        raise endpoint_failed(self._endpoint, f"HTTP {status}: {reason.rstrip('.')}{hint}")

    def _used_up(self, trouble: Trouble, attempts: int) -> SparkLLMError:
        reason = trouble.reason.rstrip(".")
        if trouble.condition == ENDPOINT_FAILED:
            return endpoint_failed(self._endpoint, f"{reason} (after {attempts} attempts)")
        if trouble.condition == RATE_LIMITED:
            reason = reason.removeprefix("HTTP 429: ")
        return SparkLLMError(
            trouble.condition, {"endpoint": self._endpoint, "attempts": str(attempts), "reason": reason}
        )

    def _body(
        self, request: EngineRequest, sampling: Sampling, form: dict[str, Any] | None, length_key: str
    ) -> bytes:
        body: dict[str, Any] = {
            "model": self._model,
            "messages": messages_of(dataclasses.replace(request, user=WELL_KNOWN.split(request.user))),
            "temperature": sampling.temperature,
            length_key: sampling.most_tokens,
            **reasoning_fields(sampling),
        }
        if sampling.seed is not None:
            body["seed"] = sampling.seed
        if form is not None:
            body["response_format"] = form
        return json.dumps(body, ensure_ascii=False).encode(errors="replace")

    async def _turn(self, units: int) -> bool:
        """Waits until the breaker and the shared limits let a request go; True for the breaker's probe.

        Raises:
            SparkLLMError: LLM_ENDPOINT_FAILED when the breaker has given up.
        """
        if self._pace is not None and (wait := await asyncio.to_thread(self._pace, 1, units)) > 0:
            await self._sleep(wait)
        while True:
            if self._breaker.given_up:
                raise endpoint_failed(self._endpoint, f"the circuit breaker gave up: {self._breaker.why()}")
            if (delay := self._breaker.delay_s()) <= 0:
                return self._breaker.open
            await self._sleep(delay)

    async def _post(self, body: bytes, sampling: Sampling, wrapped: bool) -> EngineAnswer | Trouble | Refusal:
        """One attempt; tells the breaker how it went.

        Raises:
            SparkLLMError: LLM_ENDPOINT_FAILED for what no attempt will change.
        """
        import httpx

        probe = await self._turn(len(body) // _BYTES_PER_UNIT + sampling.most_tokens)
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._client().post("/chat/completions", content=body)
        except TimeoutError:
            outcome: EngineAnswer | Trouble | Refusal = Trouble(
                ENDPOINT_FAILED, f"no whole response within {self._timeout_s:g} s (spark.llm.limits.timeout)"
            )
        except httpx.TransportError as error:
            words = without_credential(clip(f"{type(error).__name__}: {error}"), self._credential)
            if "CERTIFICATE_VERIFY_FAILED" in words:
                raise endpoint_failed(self._endpoint, f"its certificate is not trusted: {words}") from error
            outcome = Trouble(ENDPOINT_FAILED, words)
        except BaseException:
            self._breaker.dropped(probe=probe)
            raise
        else:
            outcome = read_response(response, wrapped=wrapped)
        if isinstance(outcome, Trouble) and outcome.condition == ENDPOINT_FAILED:
            self._breaker.failed(outcome.reason, probe=probe)
            outcome = dataclasses.replace(outcome, probe=probe)
        elif isinstance(outcome, Trouble) and outcome.condition == RATE_LIMITED:
            self._breaker.alive()
        else:
            self._breaker.succeeded()
        return outcome

    def _hide(self, reason: str, request: EngineRequest) -> str:
        return without_rows(without_credential(reason, self._credential), request.user)

    def _clean(self, answer: EngineAnswer, request: EngineRequest) -> EngineAnswer:
        if answer.message is None:
            return answer
        return dataclasses.replace(answer, message=self._hide(answer.message, request))

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            import httpx

            headers = {"content-type": "application/json"}
            if self._credential is not None:
                headers["authorization"] = f"Bearer {self._credential}"
            self._http = httpx.AsyncClient(
                base_url=self._endpoint,
                headers=headers,
                timeout=httpx.Timeout(None, connect=10.0),
                limits=httpx.Limits(max_connections=self._max_concurrent),
                # Rows go to the host that was named, and was allowed, and to no other.
                follow_redirects=False,
            )
        return self._http


def _sum(left: tuple[int, int, int], right: tuple[int, int, int]) -> tuple[int, int, int]:
    return left[0] + right[0], left[1] + right[1], left[2] + right[2]


def _with_retries(answer: EngineAnswer, retries: int, spent: tuple[int, int, int]) -> EngineAnswer:
    """`answer` with the requests that were sent again, and with what they are known to have cost."""
    if not retries:
        return answer
    prompt, cached, generated = spent
    return dataclasses.replace(
        answer,
        prompt_tokens=answer.prompt_tokens + prompt,
        cached_prompt_tokens=answer.cached_prompt_tokens + cached,
        generated_tokens=answer.generated_tokens + generated,
        retries=retries,
    )
