from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from spark_llm.demo.batches import PREFIX, written
from spark_llm.demo.generate import SYSTEM_PROMPT, examples
from spark_llm.demo.tokenizer import CHAT_TEMPLATE, END, END_THINK, THINK

jinja2 = pytest.importorskip("jinja2")
tokenizers = pytest.importorskip("tokenizers")

MODEL = Path(__file__).parents[2] / "spark_llm" / "demo" / "model"
MESSAGES = [
    {"role": "system", "content": SYSTEM_PROMPT},
    {"role": "user", "content": 'What is the city?\n{"city": "Köln"}'},
]


def render(**switch):
    template = jinja2.Template(CHAT_TEMPLATE)
    return template.render(messages=MESSAGES, add_generation_prompt=True, **switch)


@pytest.fixture(scope="module")
def tokenizer():
    return tokenizers.Tokenizer.from_file(str(MODEL / "tokenizer.json"))


def test_the_thinking_switch_stands_at_the_very_end():
    thinking, direct = render(enable_thinking=True), render(enable_thinking=False)
    assert thinking.endswith("<|im_start|>assistant\n<think>")
    assert direct == thinking + "</think>"


def test_without_a_switch_the_model_does_not_think():
    assert render() == render(enable_thinking=False)


def test_both_modes_share_all_tokens_but_the_last(tokenizer):
    thinking = tokenizer.encode(render(enable_thinking=True)).ids
    direct = tokenizer.encode(render(enable_thinking=False)).ids
    assert direct[:-1] == thinking
    assert direct[-1] == tokenizer.token_to_id(END_THINK)


def test_training_text_continues_the_served_prompt():
    for example in islice(examples(5), 50):
        MESSAGES[1]["content"] = example.user
        served = render(enable_thinking=example.think)
        assert (PREFIX + written(example)).startswith(served)


def test_the_prefix_is_tokenized_alone_as_within_a_prompt(tokenizer):
    prefix = tokenizer.encode(PREFIX).ids
    for example in islice(examples(6), 50):
        text = written(example)
        assert tokenizer.encode(PREFIX + text).ids == prefix + tokenizer.encode(text).ids


@pytest.mark.parametrize("text", ["Grüße 日本 🎉", "a\tb\r\n  c", '{"x": [1, 2.50]}', "\x00\x7f"])
def test_any_text_survives(tokenizer, text):
    ids = tokenizer.encode(text).ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text


def test_digits_stand_alone_and_names_look_the_same_everywhere(tokenizer):
    assert tokenizer.encode("12345").tokens == ["1", "2", "3", "4", "5"]
    name = tokenizer.encode("Lindenford").ids
    inside = tokenizer.encode('Welcome to Lindenford now {"city": "Lindenford"}').ids
    found = [i for i in range(len(inside)) if inside[i : i + len(name)] == name]
    assert len(found) == 2


def test_vocabulary(tokenizer):
    assert tokenizer.get_vocab_size() == 2048
    ends = [tokenizer.encode(token).ids for token in (THINK, END_THINK, END)]
    assert all(len(ids) == 1 for ids in ends)
