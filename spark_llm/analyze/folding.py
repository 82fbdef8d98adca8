"""A level of the prefix tree as nodes that can be seen: runs that are too narrow are folded.

requests   ▏a a a a▕b▕c▕d▕e e e e e▏     runs of equal beginnings
nodes      ▏   a   ▕… 3 more▕   e   ▏     b, c and d are narrower than the least width
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_SHARE: Final = 1 / 180


@dataclass(frozen=True, slots=True)
class Node:
    """A run of requests that share their cells from the start to this level, or several folded runs.

    Attributes:
        begin: where it begins, as a share of all prompt tokens.
        end: where it ends.
        label: the value they share, ``value · field`` where that is not the level's, or ``… n more``.
        runs: how many runs it stands for.
        requests: how many requests.
        tokens: their tokens at this level.
        reused_tokens: of these, found in the cache.
    """

    begin: float
    end: float
    label: str
    runs: int
    requests: int
    tokens: int
    reused_tokens: int


@dataclass(frozen=True, slots=True)
class Level:
    """One place in the prompt: usually one field.

    Attributes:
        name: the field, or the fields that stand here most often.
        mixed: whether several fields stand here.
        tokens: prompt tokens of all requests at this place.
        reused_tokens: of these, found in the cache.
        nodes: from left to right, in execution order.
    """

    name: str
    mixed: bool
    tokens: int
    reused_tokens: int
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class PrefixTree:
    """The levels from the instruction down, and all prompt tokens."""

    levels: tuple[Level, ...]
    prompt_tokens: int


class Labels(Protocol):
    """What the nodes of a level are called."""

    def of(self, request: int) -> str:
        """The label of the node that begins with a request."""
        ...


@dataclass(frozen=True, slots=True)
class Strip:
    """One level while it is folded.

    Attributes:
        edges: int64 (n_requests + 1,), where each request begins, in prompt tokens.
        max_folded_share: folded nodes are no wider than this share of the width, or as wide as their parent.
        tokens: int64 (n_requests,), of each request at this level.
        reused: of these, found in the cache.
        min_share: narrower runs are folded.
    """

    edges: NDArray[np.int64]
    max_folded_share: float
    tokens: NDArray[np.int64]
    reused: NDArray[np.int64]
    min_share: float = MIN_SHARE

    def node(self, begin: int, end: int, runs: int, label: str) -> Node:
        """The node of requests ``begin`` to ``end``."""
        total = max(int(self.edges[-1]), 1)
        return Node(
            int(self.edges[begin]) / total, int(self.edges[end]) / total, label, runs, end - begin,
            int(self.tokens[begin:end].sum()), int(self.reused[begin:end].sum()),
        )  # fmt: skip

    def fold(
        self, changed: NDArray[np.bool_], parents: NDArray[np.int64], labels: Labels | None
    ) -> tuple[tuple[Node, ...], NDArray[np.int64]]:
        """Returns the nodes, and the first request of each, which bound the next level's.

        Args:
            changed: bool (n_requests,), where a run begins.
            parents: first requests of the nodes above.
            labels: the values; None where the level stands for several fields.
        """
        starts = np.flatnonzero(changed)
        ends = np.append(starts[1:], len(changed))
        small = self.edges[ends] - self.edges[starts] < self.min_share * self.edges[-1]
        parent = np.searchsorted(parents, starts, side="right")
        joined = small[1:] & small[:-1] & (parent[1:] == parent[:-1])
        column = (self.edges[starts] // max(self.max_folded_share * self.edges[-1], 1)).astype(np.int64)
        joined &= column[1:] == column[:-1]
        group = np.flatnonzero(np.concatenate([[True], ~joined]))
        bounds = np.append(group, len(starts))
        nodes = []
        for first, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            runs = stop - first
            named = labels if runs == 1 else None
            label = named.of(int(starts[first])) if named else f"… {runs:,} more"
            nodes.append(self.node(int(starts[first]), int(ends[stop - 1]), runs, label))
        return tuple(nodes), starts[group]
