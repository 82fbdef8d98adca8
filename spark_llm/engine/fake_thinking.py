"""What the fake engine thinks, and how sure it is: from the same digest as its answer, and from the rules.

thinking off   the answer, and figures: unsure where thinking would change the answer
thinking on    as much thinking as the rule says, else 8 to 39 tokens; then the rule's `reasoned` answer
over budget    thinking is cut off there, and the answer is the one without thinking
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from spark_llm.engine.types import AnswerFigures

if TYPE_CHECKING:
    from spark_llm.engine.fake_rules import Rule
    from spark_llm.engine.types import Reasoning


class Thought(NamedTuple):
    """The answer to one prompt in one mode."""

    text: str
    thinking_tokens: int
    figures: AnswerFigures | None


def think(text: str, rule: Rule | None, digest: bytes, reasoning: Reasoning) -> Thought:
    """Returns the answer in a mode.

    Args:
        text: the answer without thinking.
        rule: what fired for this prompt.
        digest: of the prompt.
        reasoning: the mode.
    """
    reasoned = text if rule is None or rule.reasoned is None else rule.reasoned
    figures = _figures(digest, sure=reasoning.on or reasoned == text) if reasoning.figures else None
    if not reasoning.on:
        return Thought(text, 0, figures)
    count = digest[0] % 32 + 8 if rule is None or rule.thinking_tokens is None else rule.thinking_tokens
    budget = reasoning.budget_tokens
    if budget is not None and count >= budget:
        return Thought(text, budget, figures)
    return Thought(reasoned, count, figures)


def _figures(digest: bytes, *, sure: bool) -> AnswerFigures:
    margin = digest[1] / 256 * 2 + (1.8 if sure else 0.0)
    logprob = -math.log1p(math.exp(-margin))
    return AnswerFigures(logprob, logprob, margin)
