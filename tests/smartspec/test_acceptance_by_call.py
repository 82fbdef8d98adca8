"""Acceptance of several calls in one engine, and what is kept of it for the next."""

import numpy as np
import pytest

from spark_llm.smartspec.acceptance import Acceptance
from spark_llm.smartspec.acceptance_by_call import MOST_CALLS, AcceptanceByCall
from spark_llm.smartspec.choose import SAVE_EVERY_S, Memory
from spark_llm.smartspec.policy import StepResult


def result(slots, drafted, accepted):
    none = np.zeros(len(slots), np.int64)
    return StepResult(
        slots=np.array(slots), drafted=np.array(drafted), accepted=np.array(accepted), forced=none,
        kv_tokens=0, tokens=1, prefill_tokens=0, sequences=1, step_s=1.0, draft_s=0.0,
    )  # fmt: skip


def test_calls_learn_apart_and_new_rows_start_from_their_own_call():
    calls = AcceptanceByCall(3)
    calls.admit(np.array([0, 1]), ["copy", "label"])
    for _ in range(40):
        calls.observe(result([0, 1], [3, 3], [3, 0]))
    calls.release(np.array([0, 1]))
    calls.admit(np.array([0, 1]), ["label", "copy"])
    survival = calls.survival(np.array([0, 1]))
    assert survival[0, 0] < 0.2
    assert survival[0, 1] > 0.8
    alone = calls.survival(np.array([1]))
    assert alone[:, 0] == pytest.approx(survival[:, 1])


def test_one_call_is_as_if_there_were_no_calls():
    one, plain = AcceptanceByCall(3), Acceptance(3)
    one.admit(np.array([0, 1, 2]), ["copy"] * 3)
    for each in (one, plain):
        each.observe(result([0, 1, 2], [3, 2, 1], [3, 0, 1]))
    slots, forced = np.array([2, 0, 1]), np.array([1, 0, 0])
    assert one.survival(slots, forced) == pytest.approx(plain.survival(slots, forced))


def test_very_many_calls_share():
    calls = AcceptanceByCall(2)
    names = [f"call {number}" for number in range(MOST_CALLS + 9)]
    calls.admit(np.arange(len(names)), names)
    assert len(list(calls.items())) == MOST_CALLS
    assert calls.survival(np.arange(len(names))).shape == (2, len(names))


def test_the_next_engine_starts_with_what_this_one_learned(tmp_path):
    now = [0.0]
    memory = Memory(str(tmp_path), 3, "look-up", lambda: now[0])
    memory.acceptance.admit(np.array([0]), ["copy"])
    for _ in range(40):
        memory.acceptance.observe(result([0], [3], [3]))
    memory.save()
    assert not list(tmp_path.iterdir())  # not every step
    now[0] = SAVE_EVERY_S
    memory.save()
    cold, warm = (Memory(str(tmp_path), 3, drafter) for drafter in ("other", "look-up"))
    for each in (cold, warm):
        each.acceptance.admit(np.array([0]), ["copy"])
    slots = np.array([0])
    assert warm.acceptance.survival(slots)[2, 0] > 0.8 > cold.acceptance.survival(slots)[2, 0]


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    memory = Memory(str(tmp_path / "file" / "below"), 3, "look-up")
    memory.acceptance.admit(np.array([0]), ["copy"])
    memory.acceptance.observe(result([0], [3], [3]))
    memory.save(now=True)
    memory.save(now=True)
