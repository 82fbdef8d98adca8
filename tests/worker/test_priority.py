import json
import time
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from worker_helpers import batch, run, spec

from spark_llm.worker.priority import GroupPriority, monotonic_us


class Clock:
    def __init__(self, now=1000):
        self.now = now

    def __call__(self):
        return self.now


def test_a_group_keeps_the_time_at_which_it_began():
    clock = Clock()
    priority = GroupPriority(100, clock)
    assert [priority.of(0), priority.of(0)] == [1000, 1000]
    clock.now = 2000
    assert [priority.of(0), priority.of(1), priority.of(2)] == [1000, 2000, 2001]


def test_groups_of_two_tasks_are_served_in_the_order_in_which_they_began():
    clock = Clock()
    one, other = GroupPriority(100, clock), GroupPriority(100, clock)
    asked = []
    for step, (task, group) in enumerate([(one, 0), (other, 0), (one, 0), (other, 1), (one, 1), (other, 0)]):
        clock.now += 10
        asked.append((task.of(group), step))
    assert [step for _, step in sorted(asked)] == [0, 2, 1, 3, 4, 5]


def test_a_group_without_end_takes_a_new_place_now_and_then():
    clock = Clock()
    priority = GroupPriority(3, clock)
    places = []
    for _ in range(7):
        clock.now += 1
        places.append(priority.of(5))
    assert places == [1001] * 3 + [1004] * 3 + [1007]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=60), st.integers(1, 5))
def test_priorities_never_fall_and_tell_groups_apart(steps, most):
    clock = Clock()
    priority, seen = GroupPriority(most, clock), []
    for group, passed in steps:
        clock.now += passed
        seen.append((group, priority.of(group)))
    for (group, place), (next_group, next_place) in pairwise(seen):
        assert next_place >= place
        assert group == next_group or next_place > place


def test_the_clock_is_the_machines_and_fits_what_vllm_takes():
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert before <= monotonic_us() <= before + 60_000_000
    assert 0 < monotonic_us() < 2**63 // 1000


def test_requests_carry_the_priority_of_their_group(engine):
    stub = engine(lambda user: "x")
    conf = {"spark.llm.reorderFields.enabled": "false"}
    rows = [["a", "1"], ["b", "1"], ["a", "2"], ["b", "2"], ["a", "3"]]
    run(spec(conf=conf), batch(*rows))
    requests = [request for sent, _ in stub.submits for request in sent]
    by_city = {}
    for request in requests:
        city = json.loads(request.user.split("\n")[1])["city"]
        by_city.setdefault(city, set()).add(request.priority)
    assert [len(places) for places in by_city.values()] == [1, 1]
    assert max(by_city["a"]) < min(by_city["b"])


def test_rows_that_were_moved_are_served_where_they_were_put(engine):
    stub = engine(lambda user: "x")
    conf = {"spark.llm.inFlight": "interleave", "spark.llm.reorderFields.enabled": "false"}
    run(spec(conf=conf), batch(*[[f"{number // 10}", f"{number}"] for number in range(100)]))
    places = [request.priority for sent, _ in stub.submits for request in sent]
    assert places == sorted(set(places))
    assert len(places) == 100
