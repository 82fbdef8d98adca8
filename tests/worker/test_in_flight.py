import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_llm.conf import parse_conf
from spark_llm.worker.in_flight import lag_of, mode_of, sending_order

SIZES = st.lists(st.integers(1, 20), min_size=1, max_size=30)


def groups_of(sizes):
    return np.repeat(np.arange(len(sizes)), sizes)


@given(SIZES, st.sampled_from(["shared", "leader", "interleave"]), st.integers(1, 40))
def test_every_request_is_sent_once(sizes, mode, lag):
    order = sending_order(groups_of(sizes), mode, lag)
    assert sorted(order.tolist()) == list(range(sum(sizes)))


@given(SIZES, st.integers(1, 40))
def test_leaders_go_ahead_and_siblings_stay_in_order(sizes, lag):
    groups = groups_of(sizes)
    order = sending_order(groups, "leader", lag).tolist()
    leaders = np.flatnonzero(np.diff(groups, prepend=-1)).tolist()
    siblings = [place for place in order if place not in set(leaders)]
    assert siblings == sorted(siblings)
    assert [place for place in order if place in set(leaders)] == leaders
    for leader in leaders:
        if leader + 1 not in order or leader + 1 in leaders:
            continue
        ahead = order.index(leader + 1) - order.index(leader)
        # So many requests come between them, or all leaders that there were to send and nothing else.
        first = order[order.index(leader)] < lag
        assert ahead >= min(lag, 1) if first else ahead > lag - len(leaders)


def test_leaders_of_the_next_groups_fill_the_time():
    # Groups 0-3, 4-7 and 8-11; a leader goes five places ahead.
    order = sending_order(groups_of([4, 4, 4]), "leader", 5).tolist()
    assert order == [0, 4, 1, 2, 8, 3, 5, 6, 7, 9, 10, 11]


@given(st.integers(1, 400), st.integers(1, 20))
def test_runs_take_turns(count, lag):
    order = sending_order(np.zeros(count, int), "interleave", lag)
    runs = max(1, min(2 * lag, count // 4))
    at = np.argsort(order)
    length = -(-count // runs)
    inside = np.arange(count - 1) % length != length - 1
    # Neighbours of a run are as many requests apart as there are runs that still have some.
    assert (np.diff(at)[inside] >= count // length).all()


@pytest.mark.parametrize(
    ("conf", "remote", "mode", "lag"),
    [
        ({}, False, "shared", 256),
        ({}, True, "interleave", 64),
        ({"cache.enabled": "true"}, True, "interleave", 64),
        ({"inFlight": "leader"}, True, "leader", 64),
        ({"inFlight": "shared"}, True, "shared", 64),
        ({"inFlight": "interleave", "maxInFlightRows": "8"}, False, "interleave", 8),
        ({"limits.maxConcurrentRequests": "5"}, True, "interleave", 5),
        ({"engine.args": '{"long_prefill_token_threshold": 256}'}, False, "interleave", 256),
        ({"engine.args": '{"long-prefill-token-threshold": 0}'}, False, "shared", 256),
    ],
)
def test_mode_and_lag_follow_the_engine(conf, remote, mode, lag):
    settings = parse_conf({f"spark.llm.{key}": value for key, value in conf.items()})
    assert (mode_of(settings, remote=remote), lag_of(settings, remote=remote)) == (mode, lag)
