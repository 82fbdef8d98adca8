"""How many prompt tokens hit when ordered prompts are replayed, by the rule that keeps or evicts state.

    planned    state is stored at every junction by the first row, dropped after its last use
    learned    vLLM, SGLang: row 1 misses, row 2 finds that attention matches further than any state and
               stores one there, row 3 hits; offsets are floored to a grid (vLLM: the block that the page
               size forces, SGLang: 64 tokens). The end of every prompt keeps a state too.
    lru, belady    plain attention with little memory: the oldest block goes, or the one used again last

A row that is in flight has stored nothing yet: with ``in_flight`` rows at a time, the row p can use what rows
before p - in_flight left.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spark_llm.jenga.junctions import JunctionPlan, Prefixes


@dataclass(frozen=True, slots=True)
class StateReplay:
    """What a rule for recurrent state found.

    Attributes:
        hit_tokens: int64 (n_requests,).
        peak_states: most states kept at a time, those of running requests left out.
        second_hits: junctions at which the first request that could hit did: the second one there.
        junctions: junctions that any request could hit; 0 where the rule knows none.
    """

    hit_tokens: NDArray[np.int64]
    peak_states: int
    second_hits: int = 0
    junctions: int = 0


def replay_planned(plan: JunctionPlan, in_flight: int = 0) -> StateReplay:
    """Replays with state at every junction.

    Args:
        plan: the junctions.
        in_flight: requests that run beside one and share nothing with it. 0 also stands for the leader first:
            requests that share a junction wait until it is stored.
    """
    hits = np.zeros(len(plan.offsets) - 1, np.int64)
    live: set[int] = set()
    judged: dict[int, bool] = {}  # met junction -> whether a later request could have hit it
    waiting: deque[list[tuple[int, int]]] = deque()
    peak = second = 0
    for position, prompt in enumerate(plan.prompt_tokens.tolist()):
        path = plan.of(position)
        for junction in path:
            usable = junction.offset_tokens < prompt
            if junction.node not in judged:
                judged[junction.node] = False
            elif usable and not judged[junction.node]:
                judged[junction.node] = True
                second += junction.node in live
            if usable and junction.node in live:
                hits[position] = junction.offset_tokens
        waiting.append([(junction.node, junction.uses) for junction in path])
        if len(waiting) > in_flight:
            for node, uses in waiting.popleft():
                if uses:
                    live.add(node)
                else:
                    live.discard(node)
        peak = max(peak, len(live))
    return StateReplay(hits, peak, second, sum(judged.values()))


def replay_learned(
    keys: NDArray[np.uint64],
    offsets: NDArray[np.int64],
    prompt_tokens: NDArray[np.int64],
    grid_tokens: int,
    in_flight: int = 0,
) -> StateReplay:
    """Replays with state where a second request was seen to part from a first, and at the ends of prompts.

    Args:
        keys: chained hashes, one per whole ``grid_tokens`` of a prompt.
        offsets: where the keys of each request begin, and the end.
        prompt_tokens: of each request.
        grid_tokens: distance of the places where state may be stored.
        in_flight: as in `replay_planned`.
    """
    hits = np.zeros(len(offsets) - 1, np.int64)
    seen: set[int] = set()
    states: set[int] = set()
    waiting: deque[tuple[list[int], list[int]]] = deque()
    for position, prompt in enumerate(prompt_tokens.tolist()):
        own = keys[offsets[position] : offsets[position + 1]].tolist()
        usable = min(len(own), max(prompt - 1, 0) // grid_tokens)
        matched = 0
        while matched < usable and own[matched] in seen:
            matched += 1
        resumed = matched
        while resumed and own[resumed - 1] not in states:
            resumed -= 1
        hits[position] = resumed * grid_tokens
        stored = own[-1:] + ([own[matched - 1]] if matched > resumed else [])
        waiting.append((own, stored))
        if len(waiting) > in_flight:
            done, kept = waiting.popleft()
            seen.update(done)
            states.update(kept)
    return StateReplay(hits, len(states))


def replay_belady(prefixes: Prefixes, cache_tokens: int) -> NDArray[np.int64]:
    """Replays plain attention with the best eviction for a known order: the unit used again last goes first.

    Args:
        prefixes: units of the prompts with their next uses.
        cache_tokens: size of the cache.

    Returns:
        int64 (n_requests,), prompt tokens that hit.
    """
    nodes, next_use = prefixes.nodes.tolist(), prefixes.next_use.tolist()
    usable = prefixes.usable.tolist()
    ends = prefixes.offsets.tolist()
    requests = len(ends) - 1
    limit = cache_tokens // prefixes.unit_tokens
    cached: dict[int, int] = {}  # node -> its next use
    heap: list[tuple[int, int, int]] = []  # next use and place in the prompt, both negated: deepest first
    hits = np.zeros(requests, np.int64)
    for position in range(requests):
        begin, end = ends[position], ends[position + 1]
        good = begin
        while good < end and usable[good] and nodes[good] in cached:
            good += 1
        hits[position] = (good - begin) * prefixes.unit_tokens
        for at in range(begin, end):
            if next_use[at] < requests:
                cached[nodes[at]] = next_use[at]
                heappush(heap, (-next_use[at], begin - at, nodes[at]))
            else:
                cached.pop(nodes[at], None)
        while len(cached) > limit:
            use, _, node = heappop(heap)
            if cached.get(node) == -use:
                del cached[node]
    return hits
