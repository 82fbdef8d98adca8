"""The grammar of a request as the scheduler process sees it: what drafters read off it (forced.py)."""

import inspect
import json

import pytest

pytest.importorskip("vllm")


def parameters(function):
    return list(inspect.signature(function).parameters)


def test_a_requests_grammar_has_the_drafters_names():
    from vllm.v1.structured_output.backend_types import StructuredOutputGrammar
    from vllm.v1.structured_output.backend_xgrammar import XgrammarGrammar
    from vllm.v1.structured_output.request import StructuredOutputRequest
    from xgrammar import GrammarMatcher

    from spark_llm.smartspec.drafters.forced import Grammar

    names = [name for name in vars(Grammar) if not name.startswith("_")]
    assert sorted(names) == ["accept_tokens", "fill_bitmask", "is_terminated", "rollback", "validate_tokens"]
    for name in names:
        assert parameters(getattr(StructuredOutputGrammar, name)) == parameters(getattr(Grammar, name))
        assert len(parameters(getattr(XgrammarGrammar, name))) == len(parameters(getattr(Grammar, name)))
    assert isinstance(StructuredOutputRequest.grammar, property)
    assert isinstance(StructuredOutputRequest.is_grammar_ready, property)
    assert "reasoning_ended" in StructuredOutputRequest.__annotations__
    assert "matcher" in XgrammarGrammar.__annotations__
    assert parameters(GrammarMatcher.find_jump_forward_string) == ["self"]
    assert parameters(GrammarMatcher.is_completed) == ["self"]


def test_drafts_from_vllms_own_grammar():
    import xgrammar
    from vllm.v1.structured_output.backend_guidance import GuidanceGrammar
    from vllm.v1.structured_output.backend_xgrammar import XgrammarGrammar

    from spark_llm.smartspec.drafters.drafts import Drafts
    from spark_llm.smartspec.drafters.forced import ForcedDrafter, readable

    words = ["<end>", *map(chr, range(32, 127)), "ab"]
    info = xgrammar.TokenizerInfo(words, vocab_size=len(words), stop_token_ids=[0])
    context = xgrammar.GrammarCompiler(info).compile_grammar(
        f"root ::= {json.dumps('abc')} [xy] {json.dumps('z')}"
    )
    grammar = XgrammarGrammar(matcher=xgrammar.GrammarMatcher(context), vocab_size=len(words), ctx=context)
    assert readable(grammar)
    assert not readable(GuidanceGrammar(None, None, len(words)))
    drafts = Drafts(ForcedDrafter(len(words), lambda text: [words.index("ab"), *map(words.index, text[2:])]))
    row = drafts.start([], "q", grammar)
    draft = row.draft(9)
    assert [words[token] for token in draft.tokens] == ["ab", "c"]
    assert (draft.sources, draft.forced) == (("jump", "jump"), 0)
    came = [*draft.tokens, words.index("x")]
    assert grammar.accept_tokens("r", came)
    row.extend(came)
    draft = row.draft(9)
    assert [words[token] for token in draft.tokens] == ["z", "<end>"]
    assert (draft.forced, draft.survival) == (2, (1.0, 1.0))
    assert grammar.num_processed_tokens == 3
    assert not grammar.is_terminated()
