"""Drafts put together from grammar, tree and n-grams, and what they learn from the tokens that came."""

import pytest
from fake_grammar import SetGrammar
from hypothesis import given
from hypothesis import strategies as st

from spark_llm.smartspec.drafters.acceptance import Acceptance
from spark_llm.smartspec.drafters.drafts import Draft, Drafts
from spark_llm.smartspec.drafters.forced import ForcedDrafter

END = 0


def new_drafts(**options):
    return Drafts(ForcedDrafter(128), end_ids=[END], **options)


def answered(drafts, *answers, query="q"):
    for answer in answers:
        drafts.learn(query, answer)


def test_a_label_is_drafted_from_finished_answers_of_the_same_query():
    drafts = new_drafts()
    answered(drafts, [7, 8, END], [7, 8, END])
    assert drafts.start([1, 2], "q").draft(5).tokens == (7, 8, END)
    assert drafts.start([1, 2], "other").draft(5) == Draft()


def test_the_rows_own_text_is_drafted_from():
    row = new_drafts().start([1, 5, 6, 7, 8, 9, 2, 3], "q")
    row.extend([5, 6])
    draft = row.draft(3)
    assert (draft.tokens, draft.sources, draft.forced) == ((7, 8, 9), ("ngram",) * 3, 0)


def test_nothing_is_drafted_behind_the_end():
    row = new_drafts().start([5, 6, END, 1, 2, 5, 6], "q")
    assert row.draft(9).tokens == (END,)


def test_forced_tokens_come_first_and_again_behind_a_guess():
    grammar = SetGrammar({1}, {2}, {7, 8}, {3}, {7, 8}, {END})
    drafts = new_drafts()
    answered(drafts, *[[1, 2, 7, 3, 8, END]] * 3)
    draft = drafts.start([], "q", grammar).draft(9)
    assert draft.tokens == (1, 2, 7, 3, 8, END)
    assert (draft.sources[:3], draft.forced) == (("forced", "forced", "tree"), 2)
    assert draft.survival[:2] == (1.0, 1.0)
    assert grammar.at == 0


def test_a_draft_ends_where_the_grammar_does_not_allow_it():
    drafts = new_drafts()
    answered(drafts, [1, 2, 3, 4])
    row = drafts.start([], "q", SetGrammar({1, 9}, {2, 9}, {8, 9}, {4}))
    assert row.draft(9).tokens == (1, 2)


def test_a_grammar_that_is_ready_later():
    row = new_drafts().start([], "q")
    assert row.draft(1) == Draft()
    row.grammar = SetGrammar({5})
    assert row.draft(4).tokens == (5,)


def test_the_drafter_that_was_right_is_believed():
    # The prompt says 5 -> 6, finished answers say 5 -> 7; answers follow the prompt, drafts verified or not.
    drafts, prompt = new_drafts(), [5, 6, 1, 5, 6, 2]
    answered(drafts, *[[5, 7, END]] * 4)
    sources = []
    for _ in range(30):
        row = drafts.start(prompt, "q")
        row.extend([5])
        sources.append(row.draft(1).sources)
        row.extend([6, END])
    assert (sources[0], sources[-1]) == (("tree",), ("ngram",))
    assert drafts.drafted_tokens == {}


def test_a_drafter_that_is_never_right_is_not_drafted_from():
    drafts = new_drafts()
    for _ in range(100):
        row = drafts.start([5, 6], "q")
        row.extend([5])
        drafted = row.draft(1).tokens
        row.extend([9])
    assert drafted == ()


def test_queries_are_bounded_and_the_one_used_longest_ago_leaves():
    drafts = new_drafts(max_queries=2)
    for query in ("a", "b"):
        answered(drafts, [3, 4], query=query)
    drafts.start([], "a")
    drafts.start([], "c")
    assert drafts.start([], "a").draft(1).tokens == (3,)
    assert drafts.start([], "b").draft(1).tokens == ()


def test_counts_by_source_of_what_was_verified():
    drafts = new_drafts()
    draft = Draft((1, 2, 3, 4), ("forced", "tree", "tree", "tree"), (1.0, 0.9, 0.8, 0.7), 1)
    assert draft.first(0) == Draft()
    drafts.observe(draft.first(3), 2)
    assert (drafts.drafted_tokens, drafts.accepted_tokens) == (
        {"forced": 1, "tree": 2},
        {"forced": 1, "tree": 1},
    )


tokens = st.lists(st.integers(0, 5), max_size=12)
allowed = st.lists(st.sets(st.integers(0, 5), min_size=1), min_size=12, max_size=12)


@given(tokens, st.lists(tokens, max_size=4), allowed, st.integers(0, 8), st.booleans())
def test_every_draft_fits_and_leaves_the_grammar_as_it_was(prompt, answers, sets, k, constrained):
    drafts = new_drafts()
    answered(drafts, *answers)
    grammar = SetGrammar(*sets) if constrained else None
    row = drafts.start(prompt, "q", grammar)
    for _ in range(4):
        draft = row.draft(k)
        assert draft == row.draft(k)
        assert len(draft.tokens) == len(draft.sources) == len(draft.survival) <= k
        assert list(draft.survival) == sorted(draft.survival, reverse=True)
        assert all(source == "forced" for source in draft.sources[: draft.forced])
        if grammar:
            assert grammar.validate_tokens(list(draft.tokens)) == list(draft.tokens)
            came = [min(each) for each in sets[grammar.at : grammar.at + 2]]
            grammar.at += len(came)
        else:
            came = [3, 4]
        row.extend(came)


def test_rates_start_at_the_prior_and_follow_what_came():
    acceptance = Acceptance([0.5, 0.9])
    acceptance.learn([1, 2, 3], [0, 0, 1], [1, 9, 3])
    # One right, one wrong; of the third nothing is known.
    assert acceptance.rates == pytest.approx([(8 * 0.5 + 1) / 10, 0.9])
    acceptance.learn([1, 2], [0, 1], [1])
    assert acceptance.rates == pytest.approx([(8 * 0.5 + 2) / 11, 0.9])
    for _ in range(2_000):
        acceptance.learn([1], [0], [2])
    assert acceptance.rates[0] < 0.01
