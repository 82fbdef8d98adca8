"""The default: finds the best lengths, follows changes, leaves prompts their room, and stops what does not win."""

import numpy as np
import pytest
import steady

from spark_llm.costmodel.fit import StepFit
from spark_llm.costmodel.presets import EAGLE, H100_8B, NGRAM
from spark_llm.costmodel.step_time import DraftTime, StepTime
from spark_llm.smartspec.acceptance import Acceptance
from spark_llm.smartspec.policy import Step, StepResult
from spark_llm.smartspec.value import PROBE_EVERY, Value


def rate(k, alpha, batch, draft=NGRAM, context=1024):
    step_s = H100_8B.predict(batch * context, batch * (1 + k), batch)
    return sum(alpha**j for j in range(k + 1)) * batch / (step_s + draft.predict(step_s, batch, batch * k, k))


@pytest.mark.parametrize("batch", [1, 32, 256, 512])
@pytest.mark.parametrize("alpha", [0.3, 0.5, 0.7, 0.9])
def test_within_three_percent_of_the_best_length(batch, alpha):
    lengths = steady.run(Value(H100_8B, NGRAM, 7), batch, alpha, 300)[100:]
    reached = np.mean([rate(round(float(k.mean())), alpha, batch) for k in lengths])
    assert reached >= 0.97 * max(rate(k, alpha, batch) for k in range(8))


@pytest.mark.parametrize("batch", [1, 128])
def test_a_draft_model_is_charged_for_its_depth(batch):
    lengths = steady.run(Value(H100_8B, EAGLE, 7), batch, 0.6, 200, draft=EAGLE)[100:]
    reached = np.mean([rate(round(float(k.mean())), 0.6, batch, EAGLE) for k in lengths])
    assert reached >= 0.96 * max(rate(k, 0.6, batch, EAGLE) for k in range(8))
    deep = DraftTime(depth_s=0.02)
    assert steady.run(Value(H100_8B, deep, 7), batch, 0.6, 50, draft=deep).max() == 0


@pytest.mark.parametrize("batch", [1, 64, 512])
def test_probes_find_out_that_drafts_became_good_and_cost_little_until_then(batch):
    lengths = steady.run(Value(H100_8B, NGRAM, 7), batch, lambda at: 0.02 if at < 300 else 0.9, 340)
    before, after = lengths[100:300].sum(axis=1), lengths[330:]
    assert np.count_nonzero(before) <= 200 / PROBE_EVERY + 1
    assert before.max() <= max(1, 0.1 * H100_8B.predict(batch * 1024, batch, batch) / H100_8B.token_s)
    assert before.max() > 0
    assert (after > 0).mean() > 0.9


def test_a_drafter_that_takes_longer_than_thought_is_found_out():
    # Thirty times its model: no draft length pays, though acceptance is high.
    policy = Value(H100_8B, NGRAM, 7)
    lengths = steady.run(policy, 64, 0.8, 400, slower=30.0)
    assert (lengths[200:].sum(axis=1) > 64).mean() < 0.1


def test_a_step_time_that_is_wrong_is_found_out_by_the_watch():
    # Tokens cost twenty times what the model says, and there is no fit: predictions stay wrong.
    slow = StepTime(H100_8B.kv_s, 20 * H100_8B.token_s, H100_8B.sequence_s, H100_8B.base_s)
    policy = Value(H100_8B, NGRAM, 7)
    lengths = steady.run(policy, 64, 0.5, 600, time=slow)
    assert policy.watch.won < 1.02
    assert (lengths[300:].sum(axis=1) > 64).mean() < 0.3


def test_a_fit_learns_the_step_time():
    slow = StepTime(H100_8B.kv_s, 20 * H100_8B.token_s, 0.0, H100_8B.base_s)
    policy = Value(H100_8B, NGRAM, 7, fit=StepFit(H100_8B))
    lengths = steady.run(policy, 64, 0.5, 300, time=slow)
    assert (lengths[:20] > 0).mean() > 0.9
    assert (lengths[150:].sum(axis=1) > 64).mean() < 0.1


def step(rows, prefill_tokens=0, prefill_rows=0, drafts=7, forced=0, chunk=2048):
    most = np.full(rows, drafts)
    return Step(np.arange(rows), most, np.full(rows, forced), rows * 800, prefill_tokens, prefill_rows, chunk)


def test_prompts_that_fill_every_step_leave_no_room_for_drafts():
    # 200 rows of 300 prompt tokens and 8 answer tokens each: 37 prompt tokens follow each answer token.
    policy = Value(H100_8B, DraftTime(), 7, acceptance=Acceptance(7, [0.95], 24))
    rows, none = np.arange(40), np.zeros(40, np.int64)
    for _ in range(60):
        policy.observe(StepResult(rows, none, none, none, 32000, 1540, 1500, 45, 0.03, 0.0))
        policy.release(rows[:5])
    assert policy.draft_lengths(step(40, 48000, 160)).sum() <= 4
    assert policy.draft_lengths(step(40)).sum() > 100


def test_drafts_grow_when_few_rows_are_left():
    policy = Value(H100_8B, NGRAM, 7)
    steady.run(policy, 256, 0.7, 60)
    mean = [policy.draft_lengths(step(rows)).mean() for rows in (256, 64, 16, 1)]
    assert mean == sorted(mean)
    assert mean[0] < 4 < mean[-1]


def test_never_more_than_there_are_drafts_or_room():
    policy = Value(H100_8B, NGRAM, 7)
    some = step(6)
    some.drafts[:] = [0, 1, 2, 7, 3, 0]
    assert (policy.draft_lengths(some) <= some.drafts).all()
    assert policy.draft_lengths(some).sum() > 6
    assert policy.draft_lengths(step(10, chunk=14)).sum() <= 4
    assert len(policy.draft_lengths(step(0))) == 0


def test_forced_tokens_are_taken_where_guesses_are_not():
    policy = Value(H100_8B, NGRAM, 7)
    steady.run(policy, 256, 0.02, 60)
    some = step(256)
    some.forced[::2] = 5
    lengths = policy.draft_lengths(some)
    assert (lengths[::2] >= 5).all()
    assert lengths[1::2].max() == 0


def test_a_warm_start_needs_no_learning():
    cold, warm = Value(H100_8B, NGRAM, 7), Value(H100_8B, NGRAM, 7, acceptance=Acceptance(7, [0.1], 1000))
    assert cold.draft_lengths(step(256)).max() > 0
    assert warm.draft_lengths(step(256)).max() == 0


def test_a_step_time_of_nothing_is_no_error():
    policy = Value(StepTime(0.0, 0.0, -1.0, 0.0), NGRAM, 7)
    assert (policy.draft_lengths(step(3)) <= 7).all()


def test_probes_that_do_not_pay_for_drafting_are_not_followed_up():
    # At 0.3 a draft token is worth more than verifying it takes, but not the half step that drafting takes.
    dear = DraftTime(share=0.5)
    lengths = steady.run(Value(H100_8B, dear, 7), 64, 0.3, 300, draft=dear)
    assert (lengths[100:].max(axis=1) > 0).mean() <= 1 / PROBE_EVERY
