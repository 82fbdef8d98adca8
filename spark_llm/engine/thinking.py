"""Thinking apart from the answer, and how sure the model was of what is left: for every engine, one way.

    "<think>9 + 4 = 13</think>13" ─► split ─► ("9 + 4 = 13", "13")
    log-probabilities of all tokens ─► figures_of(…, "13") ─► those of the answer alone

An engine with a parser for its model's family has split already; what it leaves in the text is split here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from spark_llm.engine.types import AnswerFigures

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spark_llm.engine.types import EngineAnswer, Reasoning

START: Final = "<think>"
END: Final = "</think>"
_FAR: Final = 20.0


def split(text: str) -> tuple[str | None, str]:
    """Returns the thinking that a text begins with, None where there is none, and the answer after it.

    A text that ends the thinking without having begun it goes on from a prompt that began it. What comes
    later in the text belongs to the answer, also where it quotes the marks.

    Args:
        text: all that was generated.
    """
    opened = text.lstrip().startswith(START)
    thought, end, answer = text.partition(END)
    if end and (opened or START not in thought):
        return thought.strip().removeprefix(START).strip(), answer.lstrip()
    if opened:
        return text.strip().removeprefix(START).strip(), ""
    return None, text


def thinking_apart(
    reasoning: str | None, content: str | None, counted: int | None, generated_tokens: int
) -> tuple[str, int]:
    """Returns the answer without thinking, and the thinking tokens that came before it.

    Args:
        reasoning: what the engine has taken for thinking.
        content: what it has left.
        counted: thinking tokens as it counts them; None or 0 where it does not.
        generated_tokens: thinking and answer together.
    """
    answer = content or ""
    if not reasoning:
        reasoning, answer = split(answer)
    if not reasoning:
        return answer, counted or 0
    share = len(reasoning) / (len(reasoning) + len(answer))
    return answer, counted or max(1, round(generated_tokens * share))


def told(answer: EngineAnswer, reasoning: Reasoning) -> EngineAnswer:
    """Returns an answer that says whether its thinking was cut off, and whether anyone had asked for it.

    Where thinking was asked for and none was found, what the length has ended is taken for thinking.
    """
    if answer.condition is not None:
        return answer
    if reasoning.on and not answer.thinking_tokens and answer.finish_reason == "length":
        # The prompt may have begun the thinking: without its end nobody can tell it from an answer.
        answer = replace(answer, text="", figures=None, thinking_tokens=answer.generated_tokens)
    budget, count = reasoning.budget_tokens, answer.thinking_tokens
    spent = budget is not None and count >= budget
    unended = answer.finish_reason == "length" and not (answer.text or "").strip()
    return replace(
        answer,
        reasoned=reasoning.on,
        thinking_cut=count > 0 and (spent or unended),
        unasked_thinking=count > 0 and not reasoning.on,
    )


class TokenLogprob(NamedTuple):
    """A generated token: its bytes, its log-probability, and the best of the other tokens there."""

    data: bytes
    logprob: float
    best_other: float

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> TokenLogprob:
        """Reads an element of a chat completion's ``logprobs.content`` with ``top_logprobs`` of 2."""
        data, logprob = _bytes_of(entry), float(entry["logprob"])
        others = [each for each in entry.get("top_logprobs") or () if each["token"] != entry["token"]]
        # The likeliest is told first; where the token stands alone, nothing was near it.
        return cls(data, logprob, float(others[0]["logprob"]) if others else logprob - _FAR)


def _bytes_of(entry: Mapping[str, Any]) -> bytes:
    data = entry.get("bytes")
    return bytes(data) if data is not None else str(entry["token"]).encode(errors="replace")


def figures_of(tokens: Sequence[TokenLogprob], answer: str) -> AnswerFigures | None:
    """Returns the figures of the tokens that spell the answer: the last ones that hold all of it.

    Args:
        tokens: all that were generated, in order.
        answer: the text without thinking.

    Returns:
        None where no tokens spell it, and for an empty answer.
    """
    wanted = answer.strip().encode()
    if not wanted:
        return None
    tail = b""
    for start in range(len(tokens) - 1, -1, -1):
        tail = tokens[start].data + tail
        if wanted in tail:
            break
    else:
        return None
    end, spelled = start, b""
    while wanted not in spelled:
        spelled += tokens[end].data
        end += 1
    spoken = tokens[start:end]
    first = next(each for each in spoken if each.data.strip())
    logprobs = [each.logprob for each in spoken]
    return AnswerFigures(sum(logprobs) / len(logprobs), min(logprobs), first.logprob - first.best_other)
