"""What a simulated engine is asked: rows whose prompts share prefixes, and how long their answers are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.float64]


def _empty() -> Ints:
    return np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class Workload:
    """Rows in the order in which they are submitted.

    Shared prefixes form a trie: node i continues node `parents[i]` by `node_tokens[i]` tokens. A row's prompt
    is the path to its node, then its own tokens, which no other row has.

    Attributes:
        own_tokens: shape (rows,).
        output_tokens: shape (rows,): at least 1.
        nodes: shape (rows,): the trie node each prompt goes through last; -1 for none. Empty for no trie.
        parents: shape (nodes,): each below its own index; -1 for roots.
        node_tokens: shape (nodes,).
        arrival_s: shape (rows,): not falling; empty where all are there from the start.

    Raises:
        ValueError: shapes differ, a row asks for no output or has no prompt, or the trie is not one.
    """

    own_tokens: Ints
    output_tokens: Ints
    nodes: Ints = field(default_factory=_empty)
    parents: Ints = field(default_factory=_empty)
    node_tokens: Ints = field(default_factory=_empty)
    arrival_s: Floats = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        """Checks shapes and ranges."""
        rows = len(self.own_tokens)
        for name, optional in (("output_tokens", False), ("nodes", True), ("arrival_s", True)):
            length = len(getattr(self, name))
            if length != rows and not (optional and length == 0):
                raise ValueError(f"{name} has {length} entries for {rows} rows")
        if len(self.parents) != len(self.node_tokens):
            raise ValueError(f"{len(self.parents)} parents for {len(self.node_tokens)} nodes")
        if np.any(self.parents >= np.arange(len(self.parents))):
            raise ValueError("a node of the trie comes before its parent")
        if len(self.nodes) and self.nodes.max(initial=-1) >= len(self.parents):
            raise ValueError(f"a row names node {self.nodes.max()} of {len(self.parents)}")
        if rows and (self.output_tokens.min() < 1 or self.prompt_tokens.min() < 1):
            raise ValueError("each row needs at least one prompt token and one output token")
        if np.any(np.diff(self.arrival_s) < 0):
            raise ValueError("arrival_s falls: rows are listed in the order in which they arrive")

    @property
    def depths(self) -> Ints:
        """Shape (nodes,): tokens from the start of a prompt to the end of each node."""
        depths = np.array(self.node_tokens, dtype=np.int64)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                depths[node] += depths[parent]
        return depths

    @property
    def prompt_tokens(self) -> Ints:
        """Shape (rows,)."""
        if not len(self.nodes):
            return np.asarray(self.own_tokens, dtype=np.int64)
        shared = np.append(self.depths, 0)  # index -1: no prefix
        return np.asarray(shared[self.nodes] + self.own_tokens, dtype=np.int64)

    def paths(self) -> list[tuple[int, ...]]:
        """The nodes from the root to each node, itself included."""
        paths: list[tuple[int, ...]] = []
        for node, parent in enumerate(self.parents.tolist()):
            paths.append((*(paths[parent] if parent >= 0 else ()), node))
        return paths


def grouped(
    rows: int,
    seed: int,
    *,
    prefix_tokens: int,
    own_tokens: float,
    output_tokens: float,
    groups: int = 1,
    sigma: float = 0.4,
) -> Workload:
    """Rows in `groups` runs of equal length that share a prefix each, with log-normal lengths.

    Args:
        rows: how many.
        seed: of the lengths.
        prefix_tokens: length of each group's prefix.
        own_tokens: median.
        output_tokens: median.
        groups: how many prefixes.
        sigma: spread of the logarithms; 0 for equal lengths.
    """
    rng = np.random.default_rng(seed)

    def lengths(median: float) -> Ints:
        drawn = median * np.exp(sigma * rng.standard_normal(rows))
        whole: Ints = np.maximum(1, np.rint(drawn)).astype(np.int64)
        return whole

    own, output = lengths(own_tokens), lengths(output_tokens)
    if not prefix_tokens:
        return Workload(own, output)
    return Workload(
        own,
        output,
        nodes=np.arange(rows, dtype=np.int64) * groups // max(1, rows),
        parents=np.full(groups, -1, dtype=np.int64),
        node_tokens=np.full(groups, prefix_tokens, dtype=np.int64),
    )
