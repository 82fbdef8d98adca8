"""Measures a running engine: batches of many shapes, and what each step of the engine took."""

from __future__ import annotations

import asyncio
import random
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spark_llm.costmodel.fit import StepFit
from spark_llm.engine.step_recorder import DETAILS_OPTION, EngineStep
from spark_llm.engine.wire import BATCH_PATH, STEPS_PATH
from spark_llm.errors import engine_failed, invalid_conf

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import httpx

    from spark_llm.costmodel.fit import Fit
    from spark_llm.costmodel.step_time import StepTime

_TIMEOUT_S = 600.0
# Prompt tokens of one batch, so that long prompts at high concurrency do not take the measurement over.
_BATCH_TOKENS = 32_768
_ANSWER_TOKENS = (4, 12, 24, 32)
_ROOM_TOKENS = 64
_PROBE_WORDS = 64


@dataclass(frozen=True, slots=True)
class Batch:
    """Prompts sent at once; their answers differ in length."""

    prompts: int
    prompt_tokens: int


def batches(max_model_len: int, rounds: int, seed: int) -> list[Batch]:
    """All concurrencies with all prompt lengths, in random order: a slow minute hits no shape above others.

    Args:
        max_model_len: of the engine, in tokens.
        rounds: how often each shape comes.
        seed: of the order.
    """
    lengths = [64]
    while lengths[-1] * 4 <= max_model_len - _ROOM_TOKENS:
        lengths.append(lengths[-1] * 4)
    shapes = [
        Batch(prompts, length)
        for length in lengths
        for prompts in (1, 2, 4, 8, 16, 32, 64, 128)
        if prompts * length <= _BATCH_TOKENS
    ]
    order = shapes * rounds
    random.Random(seed).shuffle(order)
    return order


def with_seconds(steps: Sequence[EngineStep]) -> list[tuple[EngineStep, float]]:
    """Each step with the seconds from the step before to it.

    Where no row was in both, only the model's seconds are known: the median of what other steps took on top
    of them is added.
    """
    periods = [step.period_s - step.model_s for step in steps if step.period_s]
    around_s = statistics.median(periods) if periods else 0.0
    return [(step, step.period_s or step.model_s + max(0.0, around_s)) for step in steps]


def fit_steps(steps: Sequence[EngineStep], prior: StepTime) -> Fit | None:
    """Fits a model to all of these steps; None where there are too few."""
    fit = StepFit(prior, window=max(8, len(steps)))
    for step, seconds in with_seconds(steps):
        fit.add(step.kv_tokens, step.tokens, step.sequences, seconds, step.prefill_tokens)
    return fit.fit()


async def measure(
    http: httpx.AsyncClient, rounds: int, seed: int, tell: Callable[[int, int], None]
) -> tuple[str, list[EngineStep]]:
    """Asks the engine batch after batch.

    Args:
        http: a client of the engine's socket.
        rounds: how often each shape of a batch comes.
        seed: of prompts and order.
        tell: called with (batches done, batches in all).

    Returns:
        (the model's name, the steps).

    Raises:
        SparkLLMError: LLM_INVALID_CONF where the engine does not tell what its steps are, LLM_ENGINE_FAILED
            where it does not answer.
    """
    recording = await _get(http, STEPS_PATH)
    if not recording.get("recording"):
        raise invalid_conf(
            "spark.llm.engine.args",
            f"without {DETAILS_OPTION}",
            f'{{"{DETAILS_OPTION}": true}} when the engine is started, or no --socket: spark-llm profile '
            "then starts an engine of its own",
        )
    model = (await _get(http, "/v1/models"))["data"][0]
    rng = random.Random(seed)
    words_per_token = await _words_per_token(http, rng)
    order = batches(model["max_model_len"], rounds, seed)
    await _post(http, STEPS_PATH, {})
    for done, batch in enumerate(order):
        tell(done, len(order))
        share = -(-batch.prompts // len(_ANSWER_TOKENS))
        words = max(1, round(batch.prompt_tokens * words_per_token))
        waiting, parts = batch.prompts, []
        for answer_tokens in _ANSWER_TOKENS:
            prompts = [_prompt(rng, words) for _ in range(min(share, waiting))]
            waiting -= len(prompts)
            if prompts:
                parts.append(_ask(http, prompts, answer_tokens))
        await asyncio.gather(*parts)
    tell(len(order), len(order))
    return model["id"], [EngineStep(*step) for step in (await _get(http, STEPS_PATH))["steps"]]


async def _words_per_token(http: httpx.AsyncClient, rng: random.Random) -> float:
    """How many of our words make a token of this model, less what every prompt has anyway."""
    tokens: list[int] = []
    for words in (1, 1 + _PROBE_WORDS):
        answer = (await _ask(http, [_prompt(rng, words)], 1))["results"][0]
        if "prompt_tokens" not in answer:
            raise engine_failed(f"it answered a prompt of {words} words with {answer}")
        tokens.append(answer["prompt_tokens"])
    return _PROBE_WORDS / max(1, tokens[1] - tokens[0])


def _prompt(rng: random.Random, words: int) -> str:
    """Words that no other prompt starts with, so that the prefix cache has nothing of it."""
    return " ".join("".join(rng.choices("abcdefghijklmnoprstuvw", k=4)) for _ in range(words))


async def _ask(http: httpx.AsyncClient, prompts: list[str], answer_tokens: int) -> Any:
    body = {
        "messages": [[{"role": "user", "content": prompt}] for prompt in prompts],
        "temperature": 0.0,
        "max_tokens": answer_tokens,
        "ignore_eos": True,
        "chat_template_kwargs": {"enable_thinking": False},
    }
    return await _post(http, BATCH_PATH, body)


async def _get(http: httpx.AsyncClient, path: str) -> Any:
    return _answer(path, await http.get(path))


async def _post(http: httpx.AsyncClient, path: str, body: dict[str, Any]) -> Any:
    return _answer(path, await http.post(path, json=body))


def _answer(path: str, response: httpx.Response) -> Any:
    if response.status_code != 200:
        raise engine_failed(f"it answered {path} with HTTP {response.status_code}: {response.text[:200]}")
    return response.json()


def measure_socket(
    socket: str, rounds: int, seed: int, tell: Callable[[int, int], None]
) -> tuple[str, list[EngineStep]]:
    """`measure` for the engine that listens at a Unix socket.

    Raises:
        SparkLLMError: as `measure`, and LLM_ENGINE_FAILED where nothing listens there.
    """
    import httpx

    async def run() -> tuple[str, list[EngineStep]]:
        transport = httpx.AsyncHTTPTransport(uds=socket)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://engine", timeout=_TIMEOUT_S
        ) as http:
            return await measure(http, rounds, seed, tell)

    try:
        return asyncio.run(run())
    except httpx.TransportError as error:
        raise engine_failed(f"nothing answers at {socket} ({type(error).__name__})") from error
