"""Opening the engine client that a task's conf asks for."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from spark_llm.conf import parse_conf, resolve_model
from spark_llm.errors import SparkLLMError, engine_failed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Future

    from spark_llm.conf import Conf, Model
    from spark_llm.engine.types import EngineAnswer, EngineClient, EngineRequest, Sampling


def open_client(conf: Mapping[str, str], environ: Mapping[str, str]) -> EngineClient:
    """The client of spark.llm.engine.kind; cheap, as nothing is connected before the first `submit`.

    Args:
        conf: spark.llm.* entries as text; others are ignored.
        environ: where SPARK_LLM_ENGINE_SOCKET, SPARK_LLM_ENGINE_STATE and env: references are looked up.

    Raises:
        SparkLLMError: LLM_UNKNOWN_CONF or LLM_INVALID_CONF.
    """
    parsed = parse_conf(conf)
    if parsed.text("spark.llm.engine.kind") == "fake":
        from spark_llm.engine.fake import FakeEngine

        return FakeEngine.from_conf(parsed)
    return RoutedClient(parsed, environ)


class RoutedClient:
    """Sends each submit to where its model lives: the executor's own engine, or the model's endpoint."""

    def __init__(self, conf: Conf, environ: Mapping[str, str]) -> None:
        self._conf = conf
        self._environ = environ
        self._clients: dict[Model | None, EngineClient] = {}
        self._lock = threading.Lock()

    def submit(self, requests: Sequence[EngineRequest], sampling: Sampling) -> Future[list[EngineAnswer]]:
        """Starts answering `requests` with the model that `sampling` names.

        Raises:
            SparkLLMError: LLM_MODEL_NOT_SET, LLM_MODEL_NOT_FOUND, LLM_HOST_NOT_ALLOWED, or what makes its
                client unusable.
        """
        model = resolve_model(self._conf, sampling.model)
        # Every local request goes to the one engine of the executor, whatever name the call used for it.
        key = model if model.endpoint is not None else None
        with self._lock:
            if key not in self._clients:
                self._clients[key] = self._open(model)
            client = self._clients[key]
        return client.submit(requests, sampling)

    def close(self) -> None:
        """Closes every client that was opened."""
        with self._lock:
            clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            client.close()

    def _open(self, model: Model) -> EngineClient:
        if model.endpoint is not None:
            from spark_llm.engine.credential import read_credential
            from spark_llm.engine.hosts import KEY, check_host
            from spark_llm.engine.openai_chat import OpenAIChatClient

            check_host(model.endpoint, self._conf.get(KEY))
            credential = None if model.secret is None else read_credential(*model.secret, self._environ)
            limit = self._conf.integer("spark.llm.limits.maxConcurrentRequests")
            return OpenAIChatClient(
                model.endpoint,
                model.path,
                credential,
                limit,
                max_retries=self._conf.integer("spark.llm.errors.maxRetries"),
                timeout_s=self._conf.number("spark.llm.limits.timeout"),
            )
        if self._conf.text("spark.llm.engine.kind") == "openai":
            raise SparkLLMError(
                "LLM_INVALID_CONF",
                {
                    "key": "spark.llm.engine.endpoint",
                    "value": "(not set)",
                    "expected": "the base URL of the server that spark.llm.engine.kind=openai is about",
                },
            )
        from spark_llm.engine.http_batch import HttpBatchClient

        socket = self._environ.get("SPARK_LLM_ENGINE_SOCKET")
        if socket is None:
            raise engine_failed(
                "this executor has no engine (SPARK_LLM_ENGINE_SOCKET is not set), as the Spark plug-in that "
                "starts it is not loaded: set spark.plugins when the session is built"
            )
        state = self._environ.get("SPARK_LLM_ENGINE_STATE")
        return HttpBatchClient(
            socket,
            state,
            self._conf.number("spark.llm.engine.startTimeout"),
            max_retries=self._conf.integer("spark.llm.errors.maxRetries"),
        )
