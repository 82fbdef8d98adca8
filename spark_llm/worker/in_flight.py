"""Sending order, given what an engine can share among requests that it computes at the same time.

    plan      A A A A B B B C C C          rows of a prefix group stand together, its first row leads
    shared    A A A A B B B C C C          blocks are found as soon as their leader is scheduled
    leader    A B C A A A B B C C          each leader goes ahead; siblings of earlier groups fill the time
    interleave  A A C A B C A B C B        the plan is cut into runs that take turns, so that whatever two
                                           neighbours of the plan share is there when the second is sent

vLLM shares: a block is registered when its request is scheduled, and requests of the same step find it, also
when a prefix takes several steps, since what is computed goes on before anything new is admitted. Only with a
long-prefill threshold are siblings admitted beside a leader that is half computed (benchmarks/in_flight.py
measures all three). Other servers may not share before the first answer; nothing in the OpenAI protocol
tells, so endpoints get runs in turns: with blocks that come late this finds far more than leaders do, which
help one level of a prefix only. Its price is memory: all runs' prefixes must fit the engine's cache at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spark_llm.conf import Conf

Mode = Literal["shared", "leader", "interleave"]

# Requests that the executor's engine runs at the same time (spark_llm.engine.vllm_args.CPU_MAX_NUM_SEQS).
LOCAL_LAG: Final = 256
# A run of the interleaved plan pays its own prefix once, so it needs some rows to be worth it.
LEAST_RUN: Final = 4
_THRESHOLD: Final = "long-prefill-token-threshold"


def mode_of(conf: Conf, *, remote: bool) -> Mode:
    """Returns the mode of spark.llm.inFlight; auto depends on the engine.

    Args:
        conf: checked settings.
        remote: the model answers behind an endpoint, of which nothing is known.
    """
    chosen: Mode | Literal["auto"] = conf.get("spark.llm.inFlight")
    if chosen != "auto":
        return chosen
    return "interleave" if remote or _has_prefill_threshold(conf) else "shared"


def _has_prefill_threshold(conf: Conf) -> bool:
    extra = conf.get("spark.llm.engine.args") or {}
    return any(key.replace("_", "-") == _THRESHOLD and bool(value) for key, value in extra.items())


def lag_of(conf: Conf, *, remote: bool) -> int:
    """Returns how many requests may be computed at the same time, and so miss each other's prefix."""
    most = conf.integer("spark.llm.maxInFlightRows")
    return min(most, conf.integer("spark.llm.limits.maxConcurrentRequests") if remote else LOCAL_LAG)


def sending_order(groups: NDArray[np.int64], mode: Mode, lag: int) -> NDArray[np.int64]:
    """Returns the positions of the plan in sending order: a permutation, shape (n_requests,).

    Args:
        groups: prefix group per position of the plan, equal ids side by side, shape (n_requests,).
        mode: see the module.
        lag: requests that may be under way together.
    """
    if mode == "leader":
        return _leaders_ahead(groups, lag)
    if mode == "interleave":
        return _in_turns(len(groups), lag)
    return np.arange(len(groups))


def _leaders_ahead(groups: NDArray[np.int64], lag: int) -> NDArray[np.int64]:
    """Each group's first row goes `lag` places earlier, in front of what would have been sent there."""
    place = np.arange(len(groups))
    leads = np.ones(len(groups), bool)
    leads[1:] = groups[1:] != groups[:-1]
    order: NDArray[np.int64] = np.lexsort((~leads, np.where(leads, place - lag, place)))
    return order


def _in_turns(count: int, lag: int) -> NDArray[np.int64]:
    """The plan is cut into equal runs, one row of each at a time.

    Twice as many runs as requests under way, since those do not finish in the order in which they start;
    fewer where that would make runs too short to share anything.
    """
    runs = max(1, min(2 * lag, count // LEAST_RUN))
    length = -(-count // runs)
    place = np.arange(count)
    order: NDArray[np.int64] = np.lexsort((place // length, place % length))
    return order
