"""The published controller chooses what was published."""

import numpy as np
import pytest
import steady

from spark_llm.costmodel.presets import H100_8B, NGRAM
from spark_llm.smartspec.goodput import DECIDE_EVERY, OFF_AFTER, RETRY_AFTER, Goodput, expected_tokens
from spark_llm.smartspec.policy import Step

BEST = {
    1: {0.3: (4, 1.29), 0.5: (7, 1.79), 0.7: (8, 2.87), 0.9: (8, 5.50)},
    32: {0.3: (1, 1.11), 0.5: (3, 1.40), 0.7: (5, 1.95), 0.9: (8, 3.49)},
    64: {0.3: (1, 1.05), 0.5: (2, 1.26), 0.7: (3, 1.64), 0.9: (8, 2.67)},
    128: {0.3: (0, 1.00), 0.5: (1, 1.12), 0.7: (2, 1.37), 0.9: (6, 2.00)},
    256: {0.3: (0, 1.00), 0.5: (1, 1.02), 0.7: (2, 1.18), 0.9: (4, 1.55)},
    512: {0.3: (0, 1.00), 0.5: (0, 1.00), 0.7: (1, 1.05), 0.9: (3, 1.29)},
}
"""Best draft length and what it gains: 8B on an H100, n-gram, 1,024 tokens of context, no prompts."""


def step_of(batch, drafts=8, prefill_tokens=0):
    return Step(
        np.arange(batch),
        np.full(batch, drafts),
        np.zeros(batch, np.int64),
        batch * 1024,
        prefill_tokens,
        1,
        8192,
    )


@pytest.mark.parametrize("batch", BEST)
@pytest.mark.parametrize("alpha", [0.3, 0.5, 0.7, 0.9])
def test_best_draft_lengths_of_the_published_step_time(batch, alpha):
    policy = Goodput(H100_8B, NGRAM, 8)
    policy.acceptance = alpha
    # k = 0 counts 1.1 times, which the table does not.
    rates = [policy.goodput(step_of(batch), k) / (1.1 if k == 0 else 1.0) for k in range(9)]
    assert (int(np.argmax(rates)), round(max(rates) / rates[0], 2)) == BEST[batch][alpha]


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.99, 1.0])
@pytest.mark.parametrize("k", [0, 1, 5])
def test_expected_tokens_are_the_sum_of_the_survivals(alpha, k):
    assert expected_tokens(alpha, k) == pytest.approx(sum(alpha**j for j in range(k + 1)))


def test_it_asks_to_win_ten_percent():
    policy = Goodput(H100_8B, NGRAM, 8)
    policy.acceptance = 0.7
    assert policy.draft_lengths(step_of(512)).max() == 0  # would gain 5 %
    policy = Goodput(H100_8B, NGRAM, 8)
    assert policy.draft_lengths(step_of(256)).max() == 2  # gains 18 %


def test_a_decision_stands_for_twenty_steps():
    policy = Goodput(H100_8B, NGRAM, 8)
    first = [policy.draft_lengths(step_of(64))[0] for _ in range(DECIDE_EVERY)]
    policy.acceptance = 0.01
    assert len(set(first)) == 1
    assert policy.draft_lengths(step_of(64))[0] == 0


def test_acceptance_is_a_moving_average_of_accepted_over_drafted():
    policy = Goodput(H100_8B, NGRAM, 8)
    steady.run(policy, 1, 1e-9, 1)
    assert policy.acceptance == pytest.approx(0.85 * 0.7)


def test_off_after_forty_idle_steps_and_tried_again_after_a_hundred():
    policy = Goodput(H100_8B, NGRAM, 8)
    drafted = steady.run(policy, 64, 0.02, 400).max(axis=1) > 0
    idle = np.flatnonzero(drafted)[drafted.nonzero()[0] > DECIDE_EVERY][0] - DECIDE_EVERY
    assert not drafted[DECIDE_EVERY : DECIDE_EVERY + idle].any()
    assert idle == OFF_AFTER + RETRY_AFTER


def test_rows_without_drafts_count_once_and_prompts_are_in_the_step():
    policy = Goodput(H100_8B, NGRAM, 8)
    some = step_of(10)
    some.drafts[4:] = 0
    step_s = H100_8B.predict(10240, 10 + 4 * 2, 10)
    step_s += NGRAM.predict(step_s, 4, 8, 2)
    assert policy.goodput(some, 2) == pytest.approx((4 * expected_tokens(0.7, 2) + 6) / step_s)
    assert policy.goodput(step_of(10, prefill_tokens=500), 0) < policy.goodput(step_of(10), 0)
    later = Goodput(H100_8B, NGRAM, 8, decode_only=True)
    assert later.goodput(step_of(10, prefill_tokens=500), 0) == policy.goodput(step_of(10), 0)
