"""What of vLLM's reasoning the engine's side relies on, also where a model ignores the switch."""

import inspect

import pytest

from spark_llm.engine.thinking import thinking_apart

pytest.importorskip("vllm")
pytestmark = pytest.mark.vllm


def test_fields_of_requests_and_answers():
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest, ChatMessage
    from vllm.entrypoints.serve.engine.protocol import UsageInfo

    used = {"chat_template_kwargs", "reasoning_effort", "thinking_token_budget", "logprobs", "top_logprobs"}
    assert used <= set(ChatCompletionRequest.model_fields)
    assert {"content", "reasoning"} <= set(ChatMessage.model_fields)
    assert "completion_tokens_details" in UsageInfo.model_fields


def test_parsers_of_the_families_exist():
    from vllm.reasoning import ReasoningParserManager

    from spark_llm.router.modes import FAMILIES

    for parser in {family.parser for family in FAMILIES if family.parser is not None}:
        assert ReasoningParserManager.get_reasoning_parser(parser) is not None


class Words:
    """A tokenizer of words between blanks."""

    vocab = ("<think>", "</think>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>")

    def get_vocab(self):
        return {word: number for number, word in enumerate(self.vocab)}

    def decode(self, ids, **_):
        return "".join(self.vocab[each] if each < len(self.vocab) else str(each) for each in ids)

    def encode(self, text, **_):
        return [self.get_vocab()[text]]


@pytest.mark.parametrize(
    ("on", "prompt", "output", "answer", "thought"),
    [
        (False, [0, 1], [12], "12", False),
        (False, [0, 1], [0, 34, 1, 12], "12", True),
        (False, [0], [34, 1, 12], "12", True),
        (True, [0], [34, 35, 1, 12], "12", True),
        (True, [0], [34, 35], "", True),
    ],
    ids=["off", "thinks unasked", "template ignores the switch", "on", "does not come to an end"],
)
def test_no_thinking_is_left_in_the_answer(on, prompt, output, answer, thought):
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.parser import ParserManager

    switch = {"enable_thinking": on}
    request = ChatCompletionRequest(messages=[{"role": "user", "content": "?"}], chat_template_kwargs=switch)
    found = ParserManager.get_parser(
        reasoning_parser_name="qwen3", tool_parser_name=None, enable_auto_tools=False
    )
    parser = found(Words(), tools=None, chat_template_kwargs=switch)
    parser.set_prompt_token_ids([2, *prompt])
    reasoning, content, _ = parser.parse(
        Words().decode(output), request, enable_auto_tools=False, model_output_token_ids=output
    )
    text, tokens = thinking_apart(reasoning, content, parser.count_reasoning_tokens(output), len(output))
    assert (text, tokens > 0) == (answer, thought)


@pytest.mark.parametrize(("name", "flag"), [("qwen3", "enable_thinking"), ("deepseek_v3", "thinking")])
def test_a_type_is_enforced_at_once_where_nobody_thinks(name, flag):
    """With the switch off a parser leaves the answer alone, and its grammar begins with the prompt's end."""
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.reasoning import ReasoningParserManager

    switch = {flag: False}
    parser = ReasoningParserManager.get_reasoning_parser(name)(Words(), chat_template_kwargs=switch)
    request = ChatCompletionRequest(messages=[{"role": "user", "content": "?"}], chat_template_kwargs=switch)
    assert parser.is_reasoning_end([2, 12])
    assert parser.extract_reasoning("12", request) == (None, "12")
    on = ReasoningParserManager.get_reasoning_parser(name)(Words(), chat_template_kwargs={flag: True})
    assert not on.is_reasoning_end([2, 0])


@pytest.mark.parametrize("name", ["qwen3", "deepseek_v3"])
def test_a_budget_of_thinking_knows_the_marks(name, monkeypatch):
    from vllm.config import reasoning

    monkeypatch.setattr(reasoning, "cached_tokenizer_from_config", lambda model_config: Words())
    config = reasoning.ReasoningConfig(name, "<think>", "</think>")
    config.initialize_token_ids(None)
    assert config.enabled
    assert (config.reasoning_start_token_ids, config.reasoning_end_token_ids) == ([0], [1])


def test_what_is_compiled_all_the_same_can_be_switched_off():
    from vllm.v1.sample.ops import logprobs

    assert "@torch.compile" in inspect.getsource(logprobs)
