"""How many rows are still to read a block, and when the next of them comes."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from spark_llm.jenga.uses import IDLE_ROWS, NEVER, NO_USE, RemainingUses, Told, Use

windows = st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=5), min_size=1, max_size=12)


def hashes_of(prompt):
    """One hash per block, of all blocks up to it."""
    return [bytes(prompt[: at + 1]) for at in range(len(prompt))]


def told_of(window):
    """What each row of a window tells, block by block, by looking at all later rows."""
    found = []
    for place, prompt in enumerate(window):
        row = []
        for blocks in range(1, len(prompt) + 1):
            sharing = [at for at, other in enumerate(window) if other[:blocks] == prompt[:blocks]]
            later = [at for at in sharing if at > place]
            if len(sharing) > 1:
                row.append(Told(blocks, len(later), later[0] - place if later else 0))
        found.append(row)
    return found


def brute(windows, finished):
    """Uses of every block that two rows of a window share."""
    uses = {}
    for number, window in enumerate(windows):
        for place, prompt in enumerate(window):
            for key in hashes_of(prompt):
                if sum(other[: len(key)] == list(key) for other in window) > 1:
                    uses[key] = uses.get(key, 0) + ((number, place) not in finished)
    return uses


@given(st.lists(windows, min_size=1, max_size=2), st.randoms(use_true_random=False))
def test_counts_are_exact_whatever_the_order_and_however_often_a_row_is_sent(planned, rng):
    uses, told = RemainingUses(), [told_of(window) for window in planned]
    came, running, finished = [False] * len(planned), [], set()
    # The first row of a window tells about all of it, so it comes first; the others come in any order.
    rows = [(number, place) for number, window in enumerate(planned) for place in range(len(window))]
    rng.shuffle(rows)
    rows.sort(key=lambda row: row[1] > 0)
    sent = 0
    for number, place in rows:
        for _ in range(1 + (rng.random() < 0.2)):
            sent += 1
            name = f"{number} {place} {sent}"
            uses.arrive(name, f"w{number}", hashes_of(planned[number][place]), told[number][place])
            running.append((name, number, place))
        # All but the last sending are given up.
        for name, *row in [each for each in running if (each[1], each[2]) == (number, place)][:-1]:
            uses.finish(name)
            running.remove((name, *row))
        came[number] = True
    for key, count in brute(planned, finished).items():
        assert uses.of(key).uses == count
    while running:
        name, number, place = running.pop(rng.randrange(len(running)))
        uses.finish(name)
        finished.add((number, place))
        for key, count in brute(planned, finished).items():
            assert uses.of(key).uses == count
    assert len(uses) == 0


def test_a_window_is_counted_before_its_rows_come():
    uses = RemainingUses()
    uses.arrive("a", "w", [b"i", b"f"], [Told(1, 9, 3), Told(2, 4, 5)])
    assert uses.of(b"f") == Use(1 + 4, 1)
    assert uses.of(b"i") == Use(1 + 9, 1)
    uses.finish("a")
    assert uses.of(b"f") == Use(4, 1 + 5)
    assert uses.of(b"i") == Use(9, 1 + 3)
    assert uses.of(b"other") == NO_USE


def test_tasks_that_share_an_engine_take_turns():
    uses = RemainingUses()
    uses.arrive("a", "v", [b"i"], [Told(1, 1, 10)])
    uses.arrive("b", "w", [b"j"], [Told(1, 1, 10)])
    uses.finish("b")
    # Between a row of the plan and its next one comes a row of the other.
    assert uses.of(b"j") == Use(1, 2 + 2 * 10)


def test_a_plan_whose_rows_stop_coming_is_forgotten():
    uses, seen = RemainingUses(), []
    uses.arrive("a", "w", [b"i"], [Told(1, 7, 1)])
    uses.finish("a")
    uses.watch(seen.append)
    for number in range(IDLE_ROWS):
        uses.arrive(f"other {number}", "none", [], [])
    assert uses.of(b"i").uses == 7
    uses.arrive("last", "none", [], [])
    assert uses.of(b"i") == NO_USE
    assert seen == [b"i"]
    assert len(uses) == 0


def test_a_row_that_lost_its_blocks_wants_all_of_them():
    uses = RemainingUses()
    uses.arrive("a", "w", [b"i", b"own"], [Told(1, 0, 0)])
    assert uses.of(b"own") == NO_USE
    uses.extend("a", [b"i", b"own", b"more"])
    assert uses.of(b"own") == uses.of(b"more") == uses.of(b"i") == Use(1, 1)
    uses.finish("a")
    assert len(uses) == 0
    uses.extend("a", [b"i"])
    assert len(uses) == 0


def test_rows_without_a_plan_leave_nothing():
    uses = RemainingUses()
    uses.arrive("a", "", [b"i"], [])
    uses.finish("a")
    assert uses.of(b"i") == Use(0, NEVER)
    assert len(uses) == 0


def test_the_next_use_is_the_earliest_row_that_is_not_finished():
    uses, rng = RemainingUses(), random.Random(3)
    for number in range(40):
        uses.arrive(str(number), "w", [b"i"], [Told(1, 39 - number, 1)])
    left = list(range(40))
    rng.shuffle(left)
    while left:
        assert uses.of(b"i").next_use == min(left) + 1
        uses.finish(str(left.pop()))


def test_rows_of_days_leave_nothing_that_grows():
    uses = RemainingUses()
    front = [b"i%d" % at for at in range(8)]
    running = []
    for row in range(2000):
        own = [b"%d %d" % (row // 2, at) for at in range(4)]
        told = [Told(8, 2000 - row - 1, 1), Told(12, 1 - row % 2, 1 - row % 2)]
        uses.arrive(f"{row}", f"w{row // 500}", [*front, *own], told)
        running.append(f"{row}")
        if len(running) > 16:
            uses.finish(running.pop(0))
        # Nobody asks `of` about blocks that are always in use.
        assert len(uses) <= 8 + 4 * 10
        assert max(len(block.arrivals) for block in uses._blocks.values()) <= 18
    for row in running:
        uses.finish(row)
    assert uses._plans.keys() <= {"w3"}
