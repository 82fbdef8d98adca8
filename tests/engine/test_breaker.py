from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_llm.engine.breaker import FAILURES_TO_OPEN, Breaker


class Clock:
    time = 0.0

    def __call__(self):
        return self.time


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def opened(clock):
    breaker = Breaker(5, clock)
    for _ in range(FAILURES_TO_OPEN):
        assert breaker.delay_s() == 0
        breaker.failed("no connection")
    return breaker


def test_it_opens_after_failures_in_a_row_only(clock):
    breaker = Breaker(5, clock)
    for _ in range(FAILURES_TO_OPEN - 1):
        breaker.failed("x")
    breaker.succeeded()
    for _ in range(FAILURES_TO_OPEN - 1):
        breaker.failed("x")
    assert breaker.delay_s() == 0
    breaker.failed("x")
    assert breaker.delay_s() == 1.0


def test_half_open_lets_one_request_go(opened, clock):
    clock.time = 1.0
    assert opened.delay_s() == 0
    assert opened.delay_s() > 0
    opened.succeeded()
    assert [opened.delay_s(), opened.delay_s()] == [0, 0]


def test_failures_of_requests_sent_before_it_opened_are_no_probes(opened):
    for _ in range(50):
        opened.failed("late")
    assert not opened.given_up
    assert opened.delay_s() == 1.0


def test_it_waits_longer_after_each_probe_and_gives_up(opened, clock):
    waits = []
    while not opened.given_up:
        waits.append(opened.delay_s())
        clock.time += waits[-1]
        assert opened.delay_s() == 0
        opened.failed("still no connection", probe=opened.open)
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert "25 requests in a row failed" in opened.why()
    assert "still no connection" in opened.why()


def test_a_dropped_probe_makes_room_for_another(opened, clock):
    clock.time = 1.0
    assert opened.delay_s() == 0
    opened.dropped(probe=False)
    assert opened.delay_s() > 0
    opened.dropped(probe=True)
    assert opened.delay_s() == 0


def test_a_pause_holds_for_all(clock):
    breaker = Breaker(5, clock)
    breaker.pause(7)
    breaker.pause(3)
    assert breaker.delay_s() == 7
    clock.time = 7
    assert breaker.delay_s() == 0


@given(st.lists(st.sampled_from(["ok", "fail", "alive", "wait"]), max_size=200))
def test_an_endpoint_that_answers_is_never_given_up(events):
    clock = Clock()
    breaker = Breaker(3, clock)
    for event in events:
        delay = breaker.delay_s()
        if event == "wait" or delay > 0:
            clock.time += max(delay, 0.5)
        elif event == "fail":
            breaker.failed("x", probe=breaker.open)
        else:
            breaker.succeeded() if event == "ok" else breaker.alive()
            assert not breaker.given_up
            assert breaker.delay_s() == 0
