"""Where the prefixes of ordered prompts branch, and how many later rows still use each branching point.

    row 0  instruction │ film A, its text │ review 1       junctions of row 0: │ 5 uses │ 2 uses
    row 1  instruction │ film A, its text │ review 2                           │ 4      │ 1
    row 2  instruction │ film A, its text │ review 3                           │ 3      │ 0   film A is done
    row 3  instruction │ film B …                                              │ 2

A junction is a whole number of units (the tokens a block hash covers) from the front of a prompt, at which
two rows part or one of them ends. A cache that keeps recurrent or windowed state exactly there serves all
rows as well as one that keeps it everywhere, and 0 uses mean that it can be dropped at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_PRIME = 0x9E3779B97F4A7C15
_MIXER = 0xD6E8FEB86659FD93
_MASK = (1 << 64) - 1


class Junction(NamedTuple):
    """A place in a prompt.

    Attributes:
        offset_tokens: tokens before it.
        uses: later rows that begin with these tokens.
        node: a number that equal prefixes share.
    """

    offset_tokens: int
    uses: int
    node: int


@dataclass(frozen=True, slots=True)
class Prefixes:
    """Whole units of all prompts, in execution order; request p has ``nodes[offsets[p]:offsets[p + 1]]``.

    The last token of a prompt is always computed, so a request leaves a unit that ends with it for others,
    but does not use it.

    Attributes:
        nodes: int64 (n_units,); equal numbers are equal prefixes.
        offsets: int64 (n_requests + 1,).
        usable: bool (n_units,); whether the request itself could use the unit.
        next_use: int64 (n_units,); the next request that could, n_requests where there is none.
        uses: int64 (n_units,); how many later requests could.
        prompt_tokens: int64 (n_requests,).
        unit_tokens: tokens per unit.
    """

    nodes: NDArray[np.int64]
    offsets: NDArray[np.int64]
    usable: NDArray[np.bool_]
    next_use: NDArray[np.int64]
    uses: NDArray[np.int64]
    prompt_tokens: NDArray[np.int64]
    unit_tokens: int


@dataclass(frozen=True, slots=True)
class JunctionPlan:
    """Junctions of all requests, in execution order; request p has entries ``offsets[p]:offsets[p + 1]``.

    Attributes:
        offsets: int64 (n_requests + 1,).
        offset_tokens: int64 (n_entries,), ascending within a request; a request can use those below its
            length, and leaves all of them for others.
        uses: int64 (n_entries,); later requests that will use the junction.
        nodes: int64 (n_entries,); equal numbers are equal junctions.
        prompt_tokens: int64 (n_requests,).
        unit_tokens: tokens per unit.
    """

    offsets: NDArray[np.int64]
    offset_tokens: NDArray[np.int64]
    uses: NDArray[np.int64]
    nodes: NDArray[np.int64]
    prompt_tokens: NDArray[np.int64]
    unit_tokens: int

    def of(self, position: int) -> list[Junction]:
        """Returns the junctions of the request at a position, the shortest first."""
        span = slice(int(self.offsets[position]), int(self.offsets[position + 1]))
        columns = (self.offset_tokens[span], self.uses[span], self.nodes[span])
        return [Junction(*entry) for entry in zip(*(column.tolist() for column in columns), strict=True)]

    def leaders(self) -> NDArray[np.bool_]:
        """Whether each request is the first at one of its junctions: send it before those that share it."""
        _, first = np.unique(self.nodes, return_index=True)
        found = np.zeros(len(self.offsets) - 1, np.bool_)
        found[np.searchsorted(self.offsets, first, side="right") - 1] = True
        return found


def prefixes_of(
    keys: NDArray[np.uint64], offsets: NDArray[np.int64], prompt_tokens: NDArray[np.int64], unit_tokens: int
) -> Prefixes:
    """Returns the units of prompts with their uses, from chained hashes such as `analyze.blocks` makes.

    Args:
        keys: one per whole unit of a prompt: a hash of all tokens up to its end.
        offsets: where the keys of each request begin, and the end.
        prompt_tokens: of each request.
        unit_tokens: tokens per unit.
    """
    requests = len(prompt_tokens)
    nodes = np.unique(keys, return_inverse=True)[1].astype(np.int64)
    row = np.repeat(np.arange(requests), np.diff(offsets))
    ends = (np.arange(len(keys)) - offsets[row] + 1) * unit_tokens
    usable = ends < prompt_tokens[row]
    # By node, in order of execution, from the back: how many may use it, and which is the next one.
    order = np.argsort(nodes, kind="stable")[::-1]
    first = np.ones(len(order), np.bool_)
    first[1:] = nodes[order][1:] != nodes[order][:-1]
    group = np.cumsum(first) - 1
    seen: NDArray[np.int64] = np.cumsum(usable[order]) - usable[order]
    uses = np.empty(len(order), np.int64)
    uses[order] = seen - seen[first][group]
    # The latest place from the back at which a request could use its unit; -1 before the first.
    latest = np.maximum.accumulate(np.where(usable[order], np.arange(len(order)), -1))
    before = np.concatenate([np.full(1, -1), latest[:-1]])[: len(order)]
    has_next = before >= np.flatnonzero(first)[group]
    next_use = np.empty(len(order), np.int64)
    next_use[order] = np.where(has_next, row[order][before], requests)
    return Prefixes(nodes, offsets, usable, next_use, uses, prompt_tokens, unit_tokens)


def plan_junctions(prefixes: Prefixes) -> JunctionPlan:
    """Returns the junctions: units shared by two rows that more can use than can use the unit after."""
    nodes, ends = prefixes.nodes, prefixes.offsets
    size = int(nodes.max()) + 1 if len(nodes) else 0
    visits = np.bincount(nodes, minlength=size)
    users = np.bincount(nodes[prefixes.usable], minlength=size)
    after = np.zeros(len(nodes), np.int64)
    after[:-1] = users[nodes][1:]
    after[ends[1:][np.diff(ends) > 0] - 1] = 0
    parts = np.zeros(size, np.bool_)
    parts[nodes[users[nodes] > after]] = True
    here = np.flatnonzero((parts & (visits > 1))[nodes])
    row = np.searchsorted(ends, here, side="right") - 1
    offsets = np.searchsorted(row, np.arange(len(ends))).astype(np.int64)
    tokens = (here - ends[row] + 1) * prefixes.unit_tokens
    return JunctionPlan(
        offsets, tokens, prefixes.uses[here], nodes[here], prefixes.prompt_tokens, prefixes.unit_tokens
    )


def junctions_of(prompts: Sequence[Sequence[int]], unit_tokens: int = 16) -> JunctionPlan:
    """Returns the junctions of prompts given as token ids, in execution order.

    Args:
        prompts: token ids of each request.
        unit_tokens: tokens per unit.
    """
    keys: list[int] = []
    offsets = [0]
    for prompt in prompts:
        chain = _PRIME
        for at, token in enumerate(prompt, 1):
            chain = ((chain ^ token) * _MIXER) & _MASK
            chain ^= chain >> 32
            if at % unit_tokens == 0:
                keys.append(chain)
        offsets.append(len(keys))
    lengths: Any = [len(prompt) for prompt in prompts]
    return plan_junctions(
        prefixes_of(
            np.array(keys, np.uint64), np.array(offsets, np.int64), np.array(lengths, np.int64), unit_tokens
        )
    )
