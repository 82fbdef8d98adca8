"""The fake engine behind HTTP, to test real clients: `python -m spark_llm.engine.fake_server --port 8000`.

    GET  /health   GET /v1/models   GET /metrics (vLLM's names)
    POST /v1/chat/completions      the OpenAI form, one conversation
    POST /spark_llm/v1/batch       the form of an executor's own engine, many conversations

Point spark.llm.engine.kind=openai at http://localhost:8000/v1 to try a job's remote path without a model.
"""

from __future__ import annotations

import argparse
import json
import socket
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spark_llm.conf import parse_conf
from spark_llm.engine.fake import FakeEngine
from spark_llm.engine.types import Constraint, EngineAnswer, EngineRequest, Reasoning, Sampling
from spark_llm.engine.wire import BATCH_PATH

if TYPE_CHECKING:
    from collections.abc import Mapping


class FakeServer(ThreadingHTTPServer):
    """Serves one `FakeEngine`, on a TCP port or on a Unix socket.

    Args:
        engine: who answers.
        port: TCP port on the loopback interface, 0 for any; ignored with `uds`.
        uds: path of a Unix socket to create.
        delay_s: how long each POST takes at least.
        credential: the Bearer credential that is asked for; None for none.
        handler: who reads a request and writes its response.
    """

    daemon_threads = True

    def __init__(
        self,
        engine: FakeEngine,
        port: int = 0,
        uds: Path | None = None,
        delay_s: float = 0.0,
        credential: str | None = None,
        handler: type[Handler] | None = None,
    ) -> None:
        self.engine, self.delay_s, self.credential = engine, delay_s, credential
        self.running = 0
        if uds is None:
            super().__init__(("127.0.0.1", port), handler or Handler)
            return
        self.address_family = socket.AF_UNIX
        super().__init__(("", 0), handler or Handler, bind_and_activate=False)
        self.socket.bind(str(uds))
        uds.chmod(0o600)
        self.server_activate()


class Handler(BaseHTTPRequestHandler):
    """One connection to a `FakeServer`."""

    protocol_version = "HTTP/1.1"
    server: FakeServer

    def address_string(self) -> str:
        """A Unix socket's peer has no address, and the log wants one."""
        return "client"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
        """Says nothing."""

    def do_GET(self) -> None:
        """The routes without a body."""
        if self.path == "/health":
            self.reply(200, {})
        elif self.path == "/v1/models":
            self.reply(200, {"object": "list", "data": [{"id": "fake", "object": "model"}]})
        elif self.path == "/metrics":
            self._send(200, self._metrics().encode(), "text/plain; version=0.0.4")
        else:
            self.reply(404, {"detail": "Not Found"})

    def _metrics(self) -> str:
        """The page that vLLM has, as far as there is anything to say."""
        label = '{engine="0",model_name="fake"}'
        lines = [
            f"vllm:{name}_total{label} {count:.1f}" for name, count in self.server.engine.counts().items()
        ]
        gauges = {
            "num_requests_running": self.server.running,
            "num_requests_waiting": 0,
            "kv_cache_usage_perc": 0,
        }
        return "\n".join([*lines, *(f"vllm:{name}{label} {value:.1f}" for name, value in gauges.items()), ""])

    def do_POST(self) -> None:
        """The routes that answer prompts."""
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))))
        wanted = self.server.credential
        if wanted is not None and self.headers.get("authorization") != f"Bearer {wanted}":
            self.reply(401, {"error": {"message": "wrong credential"}})
            return
        self.server.running += 1
        try:
            self._answer_prompts(body)
        finally:
            self.server.running -= 1

    def _answer_prompts(self, body: dict[str, Any]) -> None:
        time.sleep(self.server.delay_s)
        if self.path == BATCH_PATH:
            answers = self._answers(body, body["messages"])
            self.reply(200, {"results": [_result(answer) for answer in answers]})
        elif self.path == "/v1/chat/completions":
            self.reply_to_chat(body)
        else:
            self.reply(404, {"detail": "Not Found"})

    def reply_to_chat(self, body: dict[str, Any]) -> None:
        """Answers one chat completion."""
        self.reply(*self.chat_reply(body))

    def chat_reply(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and body of the response to a chat completion."""
        (answer,) = self._answers(body, [body["messages"]])
        return _completion(answer, body.get("model"))

    def _answers(self, body: dict[str, Any], conversations: list[Any]) -> list[EngineAnswer]:
        ranks = body.get("priority", [0] * len(conversations))
        requests = [
            EngineRequest(_content(each, "system"), _content(each, "user"), rank)
            for each, rank in zip(conversations, ranks, strict=True)
        ]
        length = body.get("max_tokens") or body.get("max_completion_tokens") or 256
        reasoning = _reasoning(body)
        sampling = Sampling(
            body.get("model"),
            body.get("temperature", 1.0),
            length,
            body.get("seed"),
            _constraint(body),
            reasoning=reasoning,
        )
        return self.server.engine.submit(requests, sampling).result()

    def reply(self, status: int, body: dict[str, Any], headers: Mapping[str, str] | None = None) -> None:
        """Writes a response."""
        self._send(status, json.dumps(body).encode(), "application/json", headers)

    def _send(self, status: int, data: bytes, kind: str, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _content(messages: list[dict[str, str]], role: str) -> str:
    return "\n".join(message["content"] for message in messages if message["role"] == role)


def _constraint(body: dict[str, Any]) -> Constraint | None:
    if form := body.get("structured_outputs"):
        choice = form.get("choice")
        return Constraint(tuple(choice) if choice else None, form.get("regex"), form.get("json"))
    if form := body.get("response_format"):
        return Constraint(json_schema=form.get("json_schema", {}).get("schema", {"type": "object"}))
    return None


def _reasoning(body: dict[str, Any]) -> Reasoning:
    """As vLLM reads it, but that thinking is off where nothing is said."""
    on = (body.get("chat_template_kwargs") or {}).get(
        "enable_thinking", body.get("reasoning_effort") not in {None, "none", "low"}
    )
    return Reasoning(
        on=bool(on),
        budget_tokens=body.get("thinking_token_budget"),
        figures=bool(body.get("logprobs")),
    )


def _result(answer: EngineAnswer) -> dict[str, Any]:
    if answer.condition is not None:
        return {"error": {"condition": answer.condition, "message": answer.message}}
    return {
        "content": answer.text,
        "finish_reason": answer.finish_reason,
        "prompt_tokens": answer.prompt_tokens,
        "cached_prompt_tokens": answer.cached_prompt_tokens,
        "generated_tokens": answer.generated_tokens,
        "thinking_tokens": answer.thinking_tokens,
        "figures": answer.figures,
    }


def _completion(answer: EngineAnswer, model: str | None) -> tuple[int, dict[str, Any]]:
    if answer.condition is not None:
        return 400, {
            "error": {"message": answer.message, "type": "BadRequestError", "code": answer.condition}
        }
    usage = {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.generated_tokens,
        "total_tokens": answer.prompt_tokens + answer.generated_tokens,
        "prompt_tokens_details": {"cached_tokens": answer.cached_prompt_tokens},
        "completion_tokens_details": {"reasoning_tokens": answer.thinking_tokens},
    }
    thought = "…" * answer.thinking_tokens or None
    message = {"role": "assistant", "content": answer.text, "reasoning": thought}
    choice = {"index": 0, "message": message, "finish_reason": answer.finish_reason}
    return 200, {"object": "chat.completion", "model": model, "choices": [choice], "usage": usage}


def main(arguments: list[str] | None = None) -> None:
    """Serves until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m spark_llm.engine.fake_server", description=__doc__)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--port", type=int, help="TCP port on the loopback interface")
    where.add_argument("--uds", type=Path, help="path of a Unix socket")
    parser.add_argument("--delay", type=float, default=0.0, metavar="SECONDS", help="least time of a request")
    parser.add_argument(
        "--conf",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a spark.llm.fake.* entry; may be repeated",
    )
    chosen = parser.parse_args(arguments)
    conf = parse_conf(dict(entry.split("=", 1) for entry in chosen.conf))
    server = FakeServer(FakeEngine.from_conf(conf), chosen.port or 0, chosen.uds, chosen.delay)
    server.serve_forever()


if __name__ == "__main__":
    main()
