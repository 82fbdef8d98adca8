"""A deterministic engine that needs no model: for CI, for examples and for trying a query's shape.

    user message ──► instruction ┐                       ┌─ rule of spark.llm.fake.answers, first match wins
                 ──► row fields ─┴─ as a SET ──► digest ─┼─ instruction starts with ECHO: the row as JSON
    constraint, seed ─────────────────────────────┘      └─ else a value of the asked form, from the digest

The same (instruction, set of row fields, constraint, seed) always gets the same answer: in every process, in
any row order and in any field order. (Rules look at the message as it is written; write them so that field
order does not matter.) Conf:

* ``spark.llm.fake.answers``: path of a JSON file, a list of ``{"when": TEXT, "answer": ANY}``. A rule fires
  when TEXT is a part of the user message or, read as a regular expression, is found in it. ANY that is not a
  string is answered as JSON. ``"reasoned": ANY`` is the answer after thinking, ``"thinking": N`` its tokens.
* ``spark.llm.fake.fail``: rows whose message contains this text fail with LLM_REQUEST_REJECTED.
* ``spark.llm.fake.maxModelLen``: longer prompts fail with LLM_PROMPT_TOO_LONG.
* ``spark.llm.fake.cacheSize``, ``spark.llm.fake.lag``: size of the prefix cache, and how many requests a
  prompt must be ahead of another that finds its blocks.

Usage is plausible, not real: a token is four characters; cached tokens are counted by `PrefixCache`, which
holds blocks of 32 tokens as vLLM does. Requests are taken in the order of their priority, as vLLM takes them.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from hashlib import blake2b
from typing import TYPE_CHECKING

from spark_llm import errors
from spark_llm.engine.answers import from_error
from spark_llm.engine.fake_cache import CHARS_PER_TOKEN, PrefixCache
from spark_llm.engine.fake_forms import Form, form_of
from spark_llm.engine.fake_rows import echo, row_key
from spark_llm.engine.fake_rules import Rule, first_rule, load_rules
from spark_llm.engine.fake_thinking import think
from spark_llm.engine.thinking import told
from spark_llm.engine.types import EngineAnswer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spark_llm.conf import Conf
    from spark_llm.engine.types import EngineRequest, Sampling


class FakeEngine:
    """An `EngineClient` that answers at once, in the caller's thread, without a model.

    Args:
        rules: fixed answers, tried in order before anything else.
        fail: requests whose user message contains this text are refused.
        max_model_len: longest prompt, in (fake) tokens; None for any.
        cache_tokens: what its prefix cache holds, in (fake) tokens.
        lag: requests that must come between a prompt and one that finds its blocks.
    """

    def __init__(
        self,
        rules: Sequence[Rule] = (),
        fail: str | None = None,
        max_model_len: int | None = None,
        cache_tokens: int = 40_000,
        lag: int = 0,
    ) -> None:
        self._rules = tuple(rules)
        self._fail = fail
        self._max_model_len = max_model_len
        self._cache = PrefixCache(cache_tokens, lag)
        self._lock = threading.Lock()
        self._counts = {"prompt_tokens": 0, "prefix_cache_hits": 0, "generation_tokens": 0}

    def counts(self) -> dict[str, int]:
        """Tokens since the start, by vLLM's names."""
        with self._lock:
            return {**self._counts, "prefix_cache_queries": self._counts["prompt_tokens"]}

    @classmethod
    def from_conf(cls, conf: Conf) -> FakeEngine:
        """The engine that the ``spark.llm.fake.*`` entries describe.

        Raises:
            SparkLLMError: LLM_INVALID_CONF when an entry does not parse or the rules cannot be read.
        """
        answers = conf.get("spark.llm.fake.answers")
        fail = conf.get("spark.llm.fake.fail") or None
        return cls(
            load_rules(answers) if answers else (),
            fail,
            conf.get("spark.llm.fake.maxModelLen"),
            conf.integer("spark.llm.fake.cacheSize"),
            conf.integer("spark.llm.fake.lag"),
        )

    def submit(self, requests: Sequence[EngineRequest], sampling: Sampling) -> Future[list[EngineAnswer]]:
        """Answers `requests`; the future is already done."""
        future: Future[list[EngineAnswer]] = Future()
        try:
            form = form_of(sampling.constraint)
            salt = f"\0{sampling.seed}\0{form.name}".encode()
            with self._lock:
                future.set_result(self._answers(requests, form, salt, sampling))
        except Exception as error:  # noqa: BLE001  whatever it is belongs to whoever waits
            future.set_exception(error)
        return future

    def close(self) -> None:
        """Does nothing: there is nothing to stop."""

    def _answers(
        self, requests: Sequence[EngineRequest], form: Form, salt: bytes, sampling: Sampling
    ) -> list[EngineAnswer]:
        served = sorted(range(len(requests)), key=lambda place: requests[place].priority)
        answers = {place: self._answer(requests[place], form, salt, sampling) for place in served}
        for each in answers.values():
            self._counts["prompt_tokens"] += each.prompt_tokens
            self._counts["prefix_cache_hits"] += each.cached_prompt_tokens
            self._counts["generation_tokens"] += each.generated_tokens
        return [answers[place] for place in range(len(requests))]

    def _answer(self, request: EngineRequest, form: Form, salt: bytes, sampling: Sampling) -> EngineAnswer:
        user = request.user
        if self._fail is not None and self._fail in user:
            return from_error(errors.request_rejected("the message contains the text of spark.llm.fake.fail"))
        prompt = f"{request.system}\n{user}"
        prompt_tokens = (len(prompt) + CHARS_PER_TOKEN - 1) // CHARS_PER_TOKEN
        if self._max_model_len is not None and prompt_tokens > self._max_model_len:
            return from_error(
                errors.prompt_too_long(
                    prompt_tokens, self._max_model_len, min(sampling.max_tokens, self._max_model_len)
                )
            )
        rule = first_rule(self._rules, user) if self._rules else None
        digest = blake2b(row_key(user) + salt, digest_size=8).digest()
        if rule is not None:
            text = rule.answer
        else:
            text = echo(user) if user.startswith("ECHO") else form.render(digest)
        thought = think(text, rule, digest, sampling.reasoning)
        answer = EngineAnswer(
            thought.text,
            None,
            None,
            prompt_tokens,
            self._cache.cached_tokens(prompt),
            -(-len(thought.text) // CHARS_PER_TOKEN) + thought.thinking_tokens,
            "stop",
            thinking_tokens=thought.thinking_tokens,
            figures=thought.figures,
        )
        return told(answer, sampling.reasoning)
