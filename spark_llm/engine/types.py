"""What the worker hands to an engine and what it gets back: plain data, no engine imported."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


class PrefixUse(NamedTuple):
    """A prefix that a prompt shares with others of its plan.

    Attributes:
        chars: its length in the user message; 0 is what comes before it.
        uses: later prompts of the plan that begin with it.
        next_rows: how many prompts later the next of them comes; 0 where there is none.
    """

    chars: int
    uses: int
    next_rows: int


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """One prompt: the two chat messages and its place in the queue (lower priority is served first).

    `uses` is what it shares with prompts that are planned, the shortest prefix first, and `plan` is the
    planned window by a name of its own: hints for a cache.
    """

    system: str
    user: str
    priority: int = 0
    plan: str = ""
    uses: tuple[PrefixUse, ...] = ()


@dataclass(frozen=True, slots=True)
class Constraint:
    """The form the answer must have: at most one of a list of choices, a regex and a JSON schema."""

    choice: tuple[str, ...] | None = None
    regex: str | None = None
    json_schema: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Sampling:
    """What all prompts of one `submit` share; `max_tokens` counts generated tokens.

    `call` names the question without the row: prompts of one call have answers that are alike.
    """

    model: str | None
    temperature: float
    max_tokens: int
    seed: int | None
    constraint: Constraint | None
    call: str = ""


@dataclass(frozen=True, slots=True)
class EngineAnswer:
    """The answer to one prompt, or the error condition of that prompt alone.

    Exactly one of `text` and `condition` is set; `message` goes with `condition`. Counts are in tokens:
    `cached_prompt_tokens` of the `prompt_tokens` were not computed again. `retries` is how often the request
    was sent again; counts include what those attempts are known to have cost.
    """

    text: str | None
    condition: str | None
    message: str | None
    prompt_tokens: int
    cached_prompt_tokens: int
    generated_tokens: int
    finish_reason: str | None
    retries: int = 0


class EngineClient(Protocol):
    """One engine as a worker sees it. All methods may be called from several threads."""

    def submit(self, requests: Sequence[EngineRequest], sampling: Sampling) -> Future[list[EngineAnswer]]:
        """Start answering `requests`, without waiting.

        Returns:
            A future of one answer per request, in the order of `requests`. A failure of the engine as a
            whole is the future's exception (`spark_llm.errors.SparkLLMError`); a failure of one request is
            an answer with a `condition`.
        """
        ...

    def close(self) -> None:
        """Stop at once: unfinished requests are dropped, their futures fail."""
        ...
