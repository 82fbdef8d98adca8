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
