"""Shared characters of messages to shared tokens of prompts."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

tokenizers = pytest.importorskip("tokenizers")

from spark_llm.demo.run import MODEL  # noqa: E402
from spark_llm.engine.prefix_tokens import PrefixTokens  # noqa: E402
from spark_llm.engine.wire import USES_ARGUMENT  # noqa: E402

TOKENIZER = tokenizers.Tokenizer.from_file(str(MODEL / "tokenizer.json"))


def rendered(messages):
    """As a chat template would: roles around the texts."""
    text = "".join(f"[{each['role']}]\n{each['content']}\n" for each in messages)
    return TOKENIZER.encode(text + "[assistant]\n", add_special_tokens=False).ids


class Request(SimpleNamespace):
    """A chat completion."""

    def model_copy(self, update):
        """Another one."""
        return Request(**vars(self) | update)


class Serving:
    """Renders, and counts how often."""

    def __init__(self, tokenizer=TOKENIZER):
        self.renderer = SimpleNamespace(tokenizer=SimpleNamespace(backend_tokenizer=tokenizer))
        self.rendered = 0

    async def render_chat_request(self, request):
        """vLLM's answer: the conversation, and the prompts."""
        self.rendered += 1
        return request.messages, [{"prompt_token_ids": rendered(request.messages)}]


def requests(*users, system="Be brief."):
    messages = [[{"role": "system", "content": system}, {"role": "user", "content": user}] for user in users]
    return [Request(messages=each, vllm_xargs={"a": "b"}, chat_template_kwargs=None) for each in messages]


def told(asked, uses, serving=None):
    asyncio.run(PrefixTokens(serving or Serving()).tell(asked, uses))
    return [request.vllm_xargs.get(USES_ARGUMENT) for request in asked]


texts = st.text('ab "{}:,éabc日', max_size=40)


@given(texts, st.lists(texts, min_size=2, max_size=3))
def test_what_is_told_is_what_is_shared_but_for_a_few_tokens(prefix, rests):
    asked = requests(*(prefix + rest for rest in rests))
    found = told(asked, [["w", len(prefix), 1, 1]] * len(asked))
    prompts = [rendered(request.messages) for request in asked]
    for plan, tokens, *rest in found:
        assert (plan, rest) == ("w", [1, 1])
        # The last ones may become one with what follows.
        assert len({tuple(prompt[: max(tokens - 4, 0)]) for prompt in prompts}) == 1
        alone = len(TOKENIZER.encode(prefix, add_special_tokens=False).ids)
        assert tokens >= alone - 1


def test_all_prefixes_of_a_row_and_the_template_in_front():
    user = 'Is it good?\n{"film": "A long title of a film", "review": "Great"}'
    chars = [0, user.index("A long"), user.index("Great")]
    asked = requests(user, user.replace("Great", "Bad"))
    uses = ["w", chars[0], 9, 1, chars[1], 4, 2, chars[2], 1, 3]
    first, second = told(asked, [uses, uses])
    assert first == second
    assert first[0] == "w"
    assert first[2::3] == [9, 4, 1]
    assert first[3::3] == [1, 2, 3]
    head, *longer = first[1::3]
    # Nothing of the message: what any two messages share.
    assert head == len(TOKENIZER.encode("[system]\nBe brief.\n[user]\n", add_special_tokens=False).ids)
    assert head < longer[0] < longer[1] < len(rendered(asked[0].messages))


def test_a_template_is_rendered_once_and_other_arguments_stay():
    serving = Serving()
    asked = requests(*(f"row {number}" for number in range(8)))
    told(asked, [["w", 4, 1, 1]] * 8, serving)
    assert serving.rendered == 2
    assert all(request.vllm_xargs["a"] == "b" for request in asked)


def test_rows_that_share_nothing_are_left_alone():
    asked = requests("a", "b")
    assert told(asked, [[""], ["w"]]) == [None, None]


@pytest.mark.parametrize("uses", [[["w", "x", 1, 1]], [[]], [["w", 1, 1]], [["w", 5, None, {}]], []])
def test_hints_that_cannot_be_read_cost_no_row(uses):
    asked = requests("a text that is long enough")
    told(asked, uses)
    assert asked[0].messages[-1]["content"] == "a text that is long enough"


def test_a_tokenizer_that_does_not_say_where_its_tokens_lie_is_named_once(caplog):
    async def twice():
        prefixes = PrefixTokens(Serving(None))
        for asked in (first, again):
            await prefixes.tell(asked, [["w", 4, 1, 1]])

    first, again = requests("some text"), requests("some text")
    asyncio.run(twice())
    assert [each.vllm_xargs.get(USES_ARGUMENT) for each in first + again] == [None, None]
    assert caplog.text.count("not told what they share") == 1


def test_long_prefixes_are_not_all_remembered(monkeypatch):
    monkeypatch.setattr("spark_llm.engine.prefix_tokens._KEPT_TOKENS", 40)
    asked = requests(*(f"{word} " * 8 + "end" for word in ("film", "book", "song", "film")))
    found = told(asked, [["w", 20, 1, 1]] * 4)
    assert found[0] == found[3]
