"""Reading an engine's refusal of a long prompt: the only place that knows how engines word it."""

from __future__ import annotations

import re

from spark_llm.errors import SparkLLMError

_LIMIT = re.compile(
    r"maximum (?:context|model) length(?: is)? (?:of )?\(?(\d+)|context (?:length|window)[^\d]{0,40}(\d+)",
    re.IGNORECASE,
)
_PROMPT = re.compile(
    r"(?:prompt contains|resulted in|requested|Input length \(|input \(|prompt is) ?((?:at least )?\d+)"
    r"(?!\s*(?:characters|output))",
    re.IGNORECASE,
)
_CHARACTERS = re.compile(r"contains (\d+) characters \(more than (\d+) characters", re.IGNORECASE)


def prompt_too_long(message: str, answer_tokens: int) -> SparkLLMError | None:
    """LLM_PROMPT_TOO_LONG with the numbers of an engine's message, or None when it is about something else.

    Args:
        message: the text of an HTTP 400 of vLLM, OpenAI or a server that words it like one of them.
        answer_tokens: max_tokens of the request.
    """
    limit = _LIMIT.search(message)
    if limit is None:
        return None
    length = limit[1] or limit[2]
    if characters := _CHARACTERS.search(message):
        # Refused before tokenising: all that is known is that so many characters make more than the limit.
        prompt = f"more than {length} ({characters[1]} characters)"
    elif counted := _PROMPT.search(message):
        prompt = counted[1]
    else:
        prompt = f"more than {length}"
    return SparkLLMError(
        "LLM_PROMPT_TOO_LONG", {"prompt": prompt, "limit": length, "answer": str(answer_tokens)}
    )
