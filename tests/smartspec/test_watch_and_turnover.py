import numpy as np
import pytest

from spark_llm.smartspec.policy import Step, StepResult
from spark_llm.smartspec.turnover import Turnover
from spark_llm.smartspec.watch import CHANGED, OFF_STEPS, RETRIAL, WINDOW, Watch


def watched(watch, steps, saved_s, measured_s=1.0, gain=1.2):
    allowed = []
    for _ in range(steps):
        allowed.append(watch.allows(gain))
        watch.observe(
            allowed[-1], saved_s=saved_s, measured_s=measured_s if allowed[-1] else 1.0, plain_s=1.0
        )
    return allowed


def test_what_wins_stays_on():
    watch = Watch()
    assert all(watched(watch, 5 * WINDOW, 0.3, measured_s=1.2))
    assert watch.won == pytest.approx(1.3 / 1.2)


def test_what_does_not_win_is_off_and_tried_again_for_a_short_while():
    allowed = watched(Watch(), WINDOW + OFF_STEPS + RETRIAL + 5, 0.2, measured_s=1.2)
    assert all(allowed[:WINDOW])
    assert not any(allowed[WINDOW : WINDOW + OFF_STEPS - 1])
    assert sum(allowed[WINDOW:]) == RETRIAL


def test_a_higher_prediction_ends_it_at_once():
    watch = Watch()
    watched(watch, WINDOW, 0.0, measured_s=1.2)
    assert not watch.allows(1.2 * (CHANGED - 0.01))
    assert watch.allows(1.2 * (CHANGED + 0.01))


def test_an_engine_that_is_slower_than_its_model_without_drafts_too_is_no_loss():
    watch = Watch()
    for _ in range(200):
        watch.observe(False, saved_s=0.0, measured_s=3.0, plain_s=1.0)
    assert all(watched(watch, WINDOW + 1, 0.3, measured_s=3.3))


def test_lengths_of_rows_count_those_not_finished_too():
    turnover, none = Turnover(), np.zeros(10, np.int64)
    waiting = Step(none[:0], none[:0], none[:0], 0, 3000, 10, 2048)
    assert turnover.prompt_tokens(waiting) == 300
    for start in range(30):
        slots = np.arange(10)
        for at in range(20):
            prefill = 2500 if at == 0 else 0
            turnover.observe(StepResult(slots, none, none, none, 0, 10, prefill, 10, 0.01, 0.0))
            if start == 29 and at == 10:
                break
        else:
            turnover.release(slots)
    assert turnover.prompt_tokens(waiting) == pytest.approx(250)
    assert turnover.answer_tokens == pytest.approx(20, rel=0.03)
