"""What the worker hands to an engine and what it gets back: plain data, no engine imported."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


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
    `label` is the right answer where it is known, as a field is written; it is told to no engine.
    """

    system: str
    user: str
    priority: int = 0
    plan: str = ""
    uses: tuple[PrefixUse, ...] = ()
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Constraint:
    """The form the answer must have: at most one of a list of choices, a regex and a JSON schema."""

    choice: tuple[str, ...] | None = None
    regex: str | None = None
    json_schema: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Reasoning:
    """Whether the model thinks before it answers, and what is told about the answer.

    Attributes:
        on: it is asked to think; thinking comes on top of `Sampling.max_tokens`.
        fields: of the request, which say so in the words of the model's family; empty: nothing is said.
        budget_tokens: thinking tokens of a prompt at most.
        enforced: the engine knows vLLM's field for this; another is only kept to the sum of both lengths.
        figures: `AnswerFigures` are wanted.
    """

    on: bool = False
    fields: Mapping[str, Any] = field(default_factory=dict)
    budget_tokens: int | None = None
    enforced: bool = True
    figures: bool = False


class AnswerFigures(NamedTuple):
    """How sure the model was of its answer, thinking left out; natural logarithms.

    Attributes:
        mean_logprob: mean log-probability of the answer's tokens.
        min_logprob: the lowest of them.
        margin: of the first token that is not blank: its log-probability over that of the best other.
    """

    mean_logprob: float
    min_logprob: float
    margin: float


@dataclass(frozen=True, slots=True)
class Sampling:
    """What all prompts of one `submit` share; `max_tokens` counts tokens of the answer.

    `call` names the question without the row: prompts of one call have answers that are alike.
    """

    model: str | None
    temperature: float
    max_tokens: int
    seed: int | None
    constraint: Constraint | None
    call: str = ""
    reasoning: Reasoning = Reasoning()

    @property
    def most_tokens(self) -> int:
        """Tokens that a prompt may generate at most, thinking among them."""
        return self.max_tokens + (self.reasoning.budget_tokens or 0) * self.reasoning.on


@dataclass(frozen=True, slots=True)
class EngineAnswer:
    """The answer to one prompt, or the error condition of that prompt alone.

    Exactly one of `text` and `condition` is set; `message` goes with `condition`. Counts are in tokens:
    `cached_prompt_tokens` of the `prompt_tokens` were not computed again. `retries` is how often the request
    was sent again; counts include what those attempts are known to have cost.

    `thinking_tokens` of the `generated_tokens` were thinking, none of which is in `text`. `reasoned` tells
    that the model was asked to think for this answer, `thinking_cut` that its budget or the length of the
    answer has ended the thinking, `other_thinking_cut` that of a pass whose answer was not taken,
    `unasked_thinking` that it thought although it was asked not to. `passes` is how many requests the answer
    took, retries aside. Where a call has two models, `costly` tells that the
    second one gave this answer, and `costly_tokens` of the `generated_tokens` are its.
    """

    text: str | None
    condition: str | None
    message: str | None
    prompt_tokens: int
    cached_prompt_tokens: int
    generated_tokens: int
    finish_reason: str | None
    retries: int = 0
    thinking_tokens: int = 0
    reasoned: bool = False
    thinking_cut: bool = False
    other_thinking_cut: bool = False
    unasked_thinking: bool = False
    figures: AnswerFigures | None = None
    passes: int = 1
    costly: bool = False
    costly_tokens: int = 0


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
