"""The copy thread: in order, all of it, and no faster than the link."""

from __future__ import annotations

import threading

from spark_llm.costmodel.link import Link
from spark_llm.pie.copies import CopyThread, Outcome


def test_copies_end_in_the_order_they_came_and_each_once():
    began, gate = [], threading.Event()
    thread = CopyThread("test")

    def copy(job):
        gate.wait(10)
        began.append(job)
        return Outcome(job, {job} if job % 3 == 0 else set())

    for job in range(20):
        thread.submit(job, lambda job=job: copy(job))
    assert thread.finished() == []
    gate.set()
    thread.wait({7})
    assert {*range(8)} <= {*began}
    thread.wait(range(20))
    thread.wait({99})
    done = thread.finished()
    assert [each.job for each in done] == began == [*range(20)]
    assert [each.outcome.bad for each in done[:4]] == [{0}, set(), set(), {3}]
    assert thread.finished() == []
    thread.close()


def test_what_has_not_begun_can_be_dropped_and_is_told_as_finished():
    began, gate, running = [], threading.Event(), threading.Event()
    thread = CopyThread("test", lambda _: 0.0)

    def copy(job):
        running.set()
        gate.wait(10)
        began.append(job)
        return Outcome(5)

    for job in (1, 2, 3):
        thread.submit(job, lambda job=job: copy(job))
    running.wait(10)
    thread.wait({1, 2}, 0.0)
    thread.drop({1, 2, 99})
    # It does not wait for what is in front of it.
    thread.wait({2})
    assert began == []
    gate.set()
    thread.wait({1, 2, 3})
    assert began == [1, 3]
    assert [(each.job, each.outcome.dropped) for each in thread.finished()] == [
        (2, True),
        (1, False),
        (3, False),
    ]
    thread.close()


def test_a_link_holds_a_copy_back_and_may_change_while_it_works():
    slept, now = [], [0.0]
    link = [Link(0.5, down_bytes_per_s=100, up_bytes_per_s=50)]

    def link_s(moved_bytes):
        return link[0].seconds(moved_bytes)

    def sleep(seconds):
        slept.append(seconds)
        now[0] += seconds

    thread = CopyThread("test", link_s, now_s=lambda: now[0], sleep=sleep)

    def copy(moved, took_s):
        now[0] += took_s
        return Outcome(moved)

    thread.submit(1, lambda: copy(200, 1.0))
    thread.wait({1})
    link[0] = Link(0.5, down_bytes_per_s=10, up_bytes_per_s=50)
    thread.submit(2, lambda: copy(200, 1.0))
    thread.submit(3, lambda: copy(10, 5.0))
    thread.wait({2, 3})
    assert slept == [1.5, 19.5]
    assert [each.seconds for each in thread.finished()] == [2.5, 20.5, 5.0]
    thread.close()
