"""The client of the executor's own engine: batches of conversations over HTTP on a Unix socket.

    submit(256 requests) ──► chunks of 64 ──► POST /spark_llm/v1/batch each, all in flight at once
                                                   │ 200: 64 answers, failed rows among them; those that the
                                                   │      engine gave up are sent again
                                                   │ no connection, 5xx: wait for the restart, send it again
    future ◄── answers in the order of requests ◄──┘ anything else: the future's exception

A chunk is answered once or not at all, so sending it again loses no answer and doubles none.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from spark_llm.engine.answers import clip, from_error
from spark_llm.engine.http_client import HttpClient
from spark_llm.engine.reconnect import Reconnect
from spark_llm.engine.redact import without_rows
from spark_llm.engine.thinking import told
from spark_llm.engine.types import AnswerFigures, EngineAnswer
from spark_llm.engine.wire import BATCH_PATH, batch_body
from spark_llm.errors import engine_failed, request_rejected

if TYPE_CHECKING:
    import httpx

    from spark_llm.engine.types import EngineRequest, Sampling

# Large enough that HTTP costs little per row, small enough that first answers do not wait for the last row.
CHUNK_CONVERSATIONS = 64
_FIRST_WAIT_S = 0.1


class _NoEngineError(Exception):
    """There was no answer for want of a working engine."""


class HttpBatchClient(HttpClient):
    """An `EngineClient` for one Unix socket.

    Args:
        socket: path of the socket.
        state_path: path of the supervisor's state.json, None when there is no supervisor.
        start_timeout_s: longest wait for an engine that is starting.
        chunk: conversations per POST.
        max_retries: how often a prompt is sent again; one that sees so many engines die may be what kills
            them.
    """

    def __init__(
        self,
        socket: str,
        state_path: str | None,
        start_timeout_s: float,
        chunk: int = CHUNK_CONVERSATIONS,
        *,
        max_retries: int = 5,
    ) -> None:
        super().__init__()
        self._most_sends = max_retries + 1
        self._socket = socket
        self._chunk = chunk
        self._reconnect = Reconnect(socket, state_path, start_timeout_s, self._healthy)

    async def _answer(self, requests: list[EngineRequest], sampling: Sampling) -> list[EngineAnswer]:
        chunks = [requests[at : at + self._chunk] for at in range(0, len(requests), self._chunk)]
        sends = [asyncio.ensure_future(self._send(chunk, sampling)) for chunk in chunks]
        try:
            return [answer for answers in await asyncio.gather(*sends) for answer in answers]
        finally:
            for send in sends:
                send.cancel()

    async def _send(self, chunk: list[EngineRequest], sampling: Sampling) -> list[EngineAnswer]:
        answers: dict[int, EngineAnswer] = {}
        waiting, cause = list(range(len(chunk))), Exception()
        for attempt in range(1, self._most_sends + 1):
            try:
                results = await self._post([chunk[place] for place in waiting], sampling)
            except _NoEngineError as error:
                rows_alone, cause = False, error
            else:
                rows_alone = True
                for place, result in zip(waiting, results, strict=True):
                    if "again" in result:
                        cause = _NoEngineError(result["again"])
                    else:
                        answer = _answer_of(result, chunk[place], attempt - 1)
                        answers[place] = told(answer, sampling.reasoning)
                waiting = [place for place in waiting if place not in answers]
                if not waiting:
                    return [answers[place] for place in range(len(chunk))]
            if attempt < self._most_sends:
                await asyncio.sleep(_FIRST_WAIT_S * 2 ** (attempt - 1))
                await self._reconnect.until_ready(cause)
        reason = clip(str(cause), 200)
        if rows_alone:
            refused = replace(
                from_error(request_rejected(f"{reason} (sent {self._most_sends} times)")),
                retries=self._most_sends - 1,
            )
            return [answers.get(place, refused) for place in range(len(chunk))]
        raise engine_failed(
            f"{len(waiting)} prompts were sent {self._most_sends} times and the engine failed each time "
            f"({reason})",
            self._reconnect.log(),
        )

    async def _post(self, chunk: list[EngineRequest], sampling: Sampling) -> list[dict[str, Any]]:
        """One result per request, as the plug-in gave it.

        Raises:
            _NoEngineError: there is no engine, or it is about to end.
            SparkLLMError: sending it again would not help.
        """
        import httpx

        content = {"content-type": "application/json"}
        try:
            response = await self._client().post(
                BATCH_PATH, content=batch_body(chunk, sampling), headers=content
            )
        except httpx.TransportError as error:
            raise _NoEngineError(str(error) or type(error).__name__) from error
        if response.status_code == 200:
            results: list[dict[str, Any]] = json.loads(response.content)["results"]
            if len(results) != len(chunk):
                raise engine_failed(
                    f"{len(results)} answers came for {len(chunk)} prompts", self._reconnect.log()
                )
            return results
        reason = _reason(response)
        if response.status_code >= 500:
            raise _NoEngineError(f"HTTP {response.status_code}: {reason}")
        if response.status_code == 404:
            raise engine_failed(
                f"the server at {self._socket} has no route {BATCH_PATH}: it runs without our plug-in",
                self._reconnect.log(),
            )
        # What the engine refuses about the request as a whole, it refuses for each of its rows.
        refusal = request_rejected(reason)
        return [{"error": {"condition": refusal.condition, "message": refusal.message}}] * len(chunk)

    async def _healthy(self) -> bool:
        import httpx

        try:
            return (await self._client().get("/health", timeout=5.0)).status_code == 200
        except httpx.TransportError:
            return False

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            import httpx

            self._http = httpx.AsyncClient(
                transport=httpx.AsyncHTTPTransport(
                    uds=self._socket, limits=httpx.Limits(max_connections=None, keepalive_expiry=4.0)
                ),
                base_url="http://engine",
                # Generation takes what it takes; that the engine lives is the supervisor's business.
                # Idle connections are dropped before vLLM does so (5 s): none may close under a request.
                timeout=httpx.Timeout(None, connect=10.0),
                trust_env=False,
            )
        return self._http


def _answer_of(result: dict[str, Any], request: EngineRequest, retries: int) -> EngineAnswer:
    if (error := result.get("error")) is not None:
        message = without_rows(error["message"], request.user)
        return EngineAnswer(None, error["condition"], message, 0, 0, 0, None, retries)
    return EngineAnswer(
        result["content"],
        None,
        None,
        result["prompt_tokens"],
        result["cached_prompt_tokens"],
        result["generated_tokens"],
        result["finish_reason"],
        retries,
        result.get("thinking_tokens", 0),
        figures=AnswerFigures(*figures) if (figures := result.get("figures")) is not None else None,
    )


def _reason(response: httpx.Response) -> str:
    try:
        body = response.json()
    except ValueError:
        return clip(response.text)
    detail = body.get("error", body.get("detail", body)) if isinstance(body, dict) else body
    return clip(str(detail.get("message", detail) if isinstance(detail, dict) else detail))
