"""The loop between a scheduler, a policy and the drafters, with requests that are plain data."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from spark_llm.smartspec.drafters.drafts import Drafts
from spark_llm.smartspec.drafters.forced import ForcedDrafter
from spark_llm.smartspec.loop import Form, Limits, Speculation, Surroundings

QUIET = Surroundings(prefill_tokens=0, prefill_rows=0, free_blocks=1000)


@dataclass
class Request:
    request_id: str
    prompt: list
    answer: list = field(default_factory=list)
    max_tokens: int = 32

    @property
    def num_prompt_tokens(self):
        return len(self.prompt)

    @property
    def all_token_ids(self):
        return self.prompt + self.answer

    @property
    def num_tokens(self):
        return len(self.all_token_ids)


class Wish:
    """A policy that wants one length, and keeps what it was told."""

    def __init__(self, length):
        self.length, self.steps, self.results, self.released = length, [], [], []

    def draft_lengths(self, step):
        self.steps.append(step)
        return np.full(len(step.slots), self.length)

    def observe(self, result):
        self.results.append(result)

    def release(self, slots):
        self.released += slots.tolist()


@pytest.fixture
def made():
    def make(length=4, rows=4, draft_tokens=4, chunk_tokens=100, model_len_tokens=1000, block_tokens=16):
        limits = Limits(draft_tokens, rows, chunk_tokens, model_len_tokens, block_tokens)
        now = [0.0]

        def clock():
            now[0] += 1.0
            return now[0]

        return Speculation(Wish(length), limits, Drafts(ForcedDrafter(64)), clock)

    return make


def forms(requests, call="c"):
    return [Form(call)] * len(requests)


def end(loop, requests, drafted, accepted):
    return loop.ended(
        requests, drafted, accepted, tokens=len(requests) + sum(drafted), prefill_tokens=0,
        kv_tokens=sum(r.num_tokens for r in requests), sequences=len(requests),
    )  # fmt: skip


def test_a_copying_row_gets_the_text_as_its_draft_and_the_policy_what_became_of_it(made):
    loop = made()
    row = Request("a", [9, 1, 2, 3, 4, 5, 6, 7, 8], [1, 2])
    assert loop.lengths([row], QUIET, forms([row])).tolist() == [4]
    tokens = loop.draft(row, 4, Form("c"))
    assert tokens == [3, 4, 5, 6]
    loop.began()
    result = end(loop, [row], [4], [2])
    assert (result.drafted.tolist(), result.accepted.tolist(), result.tokens) == ([4], [2], 5)
    assert loop.policy.results == [result]
    assert loop.drafts.accepted_tokens["ngram"] == 2
    row.answer += [3, 4, 0]
    loop.lengths([row], QUIET, forms([row]))
    assert loop.draft(row, 4, Form("c")) == []


def test_no_row_drafts_past_its_answer_or_the_model(made):
    loop = made(model_len_tokens=12)
    short = Request("a", [1] * 4, [2], max_tokens=3)
    full = Request("b", [1] * 8, [2] * 3)
    free = Request("c", [1] * 3, [2])
    rows = [short, full, free]
    assert loop.lengths(rows, QUIET, forms(rows)).tolist() == [1, 0, 4]


def test_drafts_take_no_block_when_blocks_are_short(made):
    loop = made(block_tokens=8)
    rows = [Request("a", [1] * 6), Request("b", [1] * 8), Request("c", [1] * 3)]
    short = Surroundings(prefill_tokens=0, prefill_rows=0, free_blocks=5)
    assert loop.lengths(rows, short, forms(rows)).tolist() == [2, 0, 4]


def test_drafts_leave_every_row_its_place_in_the_step(made):
    loop = made(chunk_tokens=9)
    rows = [Request(name, [1] * 5) for name in "abc"]
    lengths = loop.lengths(rows, QUIET, forms(rows))
    assert lengths.tolist() == [2, 2, 2]


def test_an_answer_teaches_the_rows_of_its_call_alone(made):
    loop = made()
    done, cut = Request("a", [1], [7, 8, 9, 0]), Request("b", [1], [5, 5, 5])
    for row in (done, done, done, cut):
        loop.lengths([row], QUIET, forms([row]))
        loop.finished(row, "c", whole=row is done)
    new, other = Request("d", [2]), Request("e", [2])
    loop.lengths([new, other], QUIET, forms([new, other]))
    assert loop.draft(new, 4, Form("c")) == [7, 8, 9, 0]
    assert loop.draft(other, 4, Form("another")) == []


def test_slots_come_back_also_from_rows_that_were_preempted(made):
    loop = made(rows=2)
    first, second, third = (Request(name, [1]) for name in "abc")
    loop.lengths([first, second], QUIET, forms([1, 2]))
    loop.lengths([first, third], QUIET, forms([1, 2]))  # second gave its place up, unfinished
    assert loop.policy.released == [1]
    assert sorted(loop.policy.steps[-1].slots.tolist()) == [0, 1]
    loop.finished(third, "c", whole=True)
    loop.finished(second, "c", whole=False)
    assert loop.policy.released == [1, 1]


class OneWay:
    """A grammar that allows 3, 4, 5 and nothing else, in turn."""

    def __init__(self):
        self.at, self.matcher = 0, None

    def accept_tokens(self, _, tokens):
        self.at += len(tokens)
        return True

    def validate_tokens(self, tokens):
        return [t for t, right in zip(tokens, (3, 4, 5)[self.at :], strict=False) if t == right]

    def rollback(self, count):
        self.at -= count

    def fill_bitmask(self, bitmask, row):
        bitmask[row] = 0
        bitmask[row, 0] = 1 << (3 + self.at) if self.at < 3 else -1

    def is_terminated(self):
        return False


def test_what_a_grammar_forces_is_told_to_the_policy_and_is_no_sign_of_acceptance(made):
    loop = made(draft_tokens=3)
    row, form = Request("a", [1, 2]), Form("c", OneWay())
    loop.lengths([row], QUIET, [form])
    assert loop.policy.steps[-1].forced.tolist() == [3]
    assert form.grammar.at == 0
    assert loop.draft(row, 3, form) == [3, 4, 5]
    loop.began()
    assert end(loop, [row], [3], [3]).forced.tolist() == [3]
    # Drafts that the engine cut are forced no longer than they were verified.
    loop.lengths([row], QUIET, [form])
    loop.draft(row, 3, form)
    assert end(loop, [row], [1], [1]).forced.tolist() == [1]


def test_time_is_the_engines_without_drafting(made):
    loop = made(length=0)
    row = Request("a", [1])
    loop.lengths([row], QUIET, forms([row]))
    loop.began()
    assert end(loop, [row], [0], [0]).step_s == 1.0
