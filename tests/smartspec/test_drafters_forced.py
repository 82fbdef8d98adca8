"""What a grammar leaves no choice about: bit by bit against a set, then with xgrammar and a real tokenizer."""

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_grammar import SetGrammar
from hypothesis import given
from hypothesis import strategies as st

from spark_llm.smartspec.drafters.forced import ForcedDrafter

needs_xgrammar = pytest.mark.skipif(
    importlib.util.find_spec("xgrammar") is None, reason="comes with the cpu or gpu extra"
)


@given(st.lists(st.sets(st.integers(0, 99), min_size=1, max_size=3), max_size=4), st.integers(0, 5))
def test_forced_are_the_leading_sets_of_one(allowed, k):
    expected = []
    for each in allowed[:k]:
        if len(each) > 1:
            break
        expected += each
    grammar = SetGrammar(*allowed)
    assert ForcedDrafter(100).forced(grammar, k) == expected
    assert grammar.at == len(expected)


def test_a_row_that_a_backend_leaves_alone_allows_everything():
    grammar = SetGrammar({3}, {4})
    drafter = ForcedDrafter(64)
    assert drafter.forced(grammar, 1) == [3]
    grammar.fill_bitmask = lambda bitmask, batch_index: None
    assert drafter.forced(grammar, 1) == []


def test_backends_without_a_jump_string_have_no_jump_tokens():
    assert ForcedDrafter(64, lambda text: [1]).jump(SetGrammar({1}), 4) == []


def test_no_bitmask_is_filled_where_no_byte_is_certain():
    grammar = SetGrammar({1})
    grammar.matcher = SimpleNamespace(find_jump_forward_string=str, is_completed=lambda: completed)
    completed = True
    assert ForcedDrafter(64).forced_token(grammar) == 1
    completed = False
    assert ForcedDrafter(64).forced_token(grammar) is None


class Matched:
    """An xgrammar matcher behind the names that vLLM gives it."""

    def __init__(self, matcher):
        self.matcher = matcher
        self.fill_bitmask = matcher.fill_next_token_bitmask
        self.is_terminated = matcher.is_terminated
        self.rollback = matcher.rollback

    def accept_tokens(self, request_id, tokens):
        return all(map(self.matcher.accept_token, tokens))

    def validate_tokens(self, tokens):
        fit = 0
        while fit < len(tokens) and not self.is_terminated() and self.matcher.accept_token(tokens[fit]):
            fit += 1
        self.matcher.rollback(fit)
        return tokens[:fit]


@pytest.fixture(scope="module")
def demo():
    import xgrammar
    from transformers import PreTrainedTokenizerFast

    import spark_llm.demo
    from spark_llm.engine.json_grammar import with_fixed_blanks

    folder = Path(spark_llm.demo.__file__).parent / "model"
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    size = json.loads((folder / "config.json").read_text())["vocab_size"]
    compiler = xgrammar.GrammarCompiler(xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=size))

    def tokenize(text):
        return tokenizer.encode(text, add_special_tokens=False)

    def of_schema(properties):
        schema = {"type": "object", "properties": properties, "required": list(properties)}
        grammar = with_fixed_blanks({"json": {**schema, "additionalProperties": False}})["grammar"]
        return Matched(xgrammar.GrammarMatcher(compiler.compile_grammar(grammar)))

    def of_choice(*words):
        grammar = " | ".join(map(json.dumps, words))
        return Matched(xgrammar.GrammarMatcher(compiler.compile_grammar(f"root ::= {grammar}")))

    return ForcedDrafter(size, tokenize), tokenize, tokenizer, of_schema, of_choice


@needs_xgrammar
def test_jump_tokens_are_the_answers_own_between_its_values(demo):
    drafter, tokenize, tokenizer, of_schema, _ = demo
    grammar = of_schema({"name": {"type": "string"}, "price": {"type": "integer"}})
    answer = [*tokenize('{"name": "Lamp", "price": 12}'), tokenizer.eos_token_id]
    found, place = [], 0
    while place < len(answer):
        drafted = drafter.forced(grammar, 99) or drafter.jump(grammar, 99)
        assert drafted == answer[place : place + len(drafted)]
        found.append(tokenizer.decode(drafted))
        place += len(drafted)
        if found[-1] != "<|im_end|>":
            # `forced` has advanced past its own tokens, `jump` has not.
            grammar.accept_tokens("", drafted)
        if place < len(answer):
            grammar.accept_tokens("", [answer[place]])
            place += 1
    assert grammar.is_terminated()
    assert [text for text in found if text] == ['{"name": "', 'price": ', "<|im_end|>"]


@needs_xgrammar
def test_a_choice_is_forced_to_its_end_once_it_is_clear(demo):
    drafter, tokenize, tokenizer, _, of_choice = demo
    grammar = of_choice("Yes", "Not at all")
    assert drafter.forced(grammar, 9) == drafter.jump(grammar, 9) == []
    first, *rest = tokenize("Not at all")
    grammar.accept_tokens("", [first])
    assert drafter.jump(grammar, 9) == rest
    assert drafter.jump(grammar, 1) == rest[:1]
    grammar.accept_tokens("", rest)
    assert drafter.forced(grammar, 9) == [tokenizer.eos_token_id]
    assert drafter.forced(grammar, 9) == drafter.jump(grammar, 9) == []
