from __future__ import annotations

import pytest

from spark_llm.engine.too_long import prompt_too_long

START = "This model's maximum context length is 4096 tokens. However, "


@pytest.mark.parametrize(
    ("message", "prompt", "limit"),
    [
        (START + "your prompt contains at least 4097 input tokens, which exceeds", "at least 4097", "4096"),
        (START + "your prompt contains 5000 input tokens, which exceeds", "5000", "4096"),
        (
            START
            + "your prompt contains 900000 characters (more than 81920 characters, which is the upper bound "
            "for 4096 input tokens). Please reduce the length",
            "more than 4096 (900000 characters)",
            "4096",
        ),
        (START + "your messages resulted in 5000 tokens.", "5000", "4096"),
        (START + "you requested 5000 tokens (4900 in the messages, 100 in the completion).", "5000", "4096"),
        ("Input length (5000) exceeds model's maximum context length (4096).", "5000", "4096"),
        ("the prompt is longer than the context window of 4096 tokens", "more than 4096", "4096"),
    ],
)
def test_both_numbers_are_read(message, prompt, limit):
    error = prompt_too_long(message, 32)
    assert error.condition == "LLM_PROMPT_TOO_LONG"
    assert (error.params["prompt"], error.params["limit"], error.params["answer"]) == (prompt, limit, "32")


@pytest.mark.parametrize("message", ["bad regex", "max_tokens=9 cannot be greater", "context is required"])
def test_other_refusals_are_not_about_length(message):
    assert prompt_too_long(message, 32) is None
