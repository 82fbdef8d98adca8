"""The prefix tree of an order, folded to what can be seen in a picture.

    instruction  ███████████████████████████████████████████████████   every request
    field 1      ▒████████████████████████▒█████████▒███████… 40 more   runs of requests, equal from the
    field 2      ▒██▒███▒█████▒███▒█…      ▒███▒█▒██ ▒▒▒▒▒▒              start to here

Width is prompt tokens of the requests below. A run narrower than the least width is folded into its
neighbours under the same parent. What of a node was computed (▒) and what was reused (█) comes from the
simulated cache.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from spark_llm.analyze.blocks import level_tokens
from spark_llm.analyze.fields import reused_by_level

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spark_llm.analyze.blocks import Blocks
    from spark_llm.analyze.cells import Cells
    from spark_llm.analyze.orders import Requests

MAX_LEVELS: Final = 10
MIN_SHARE: Final = 1 / 180
MAX_FOLDED_SHARE: Final = 1 / 8
CLOSER_REQUESTS: Final = 60
_LABEL_CHARS: Final = 400
_ONE_NAME_SHARE: Final = 0.9
_NEAR_SHARE: Final = 0.01


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


def prefix_tree(
    cells: Cells,
    requests: Requests,
    blocks: Blocks,
    reused: NDArray[np.int64],
    window: tuple[int, int] | None = None,
    max_folded_share: float = MAX_FOLDED_SHARE,
) -> PrefixTree:
    """Returns the tree of requests in execution order.

    Args:
        cells: the table.
        requests: the order.
        blocks: its blocks.
        reused: int64 (n_requests,), leading tokens found in the cache.
        window: only these requests, first and one past the last; None for all.
        max_folded_share: folded nodes are no wider than this share of the width, or as wide as their parent.
    """
    begin, end = window or (0, len(requests.rows))
    requests, prompt_tokens, reused = (
        requests.slice(begin, end),
        blocks.prompt_tokens[begin:end],
        reused[begin:end],
    )
    count, fields = len(requests.rows), cells.ids.shape[1]
    places = requests.orders[requests.order_index]
    columns = places if requests.slots is None else np.take_along_axis(requests.slots, places, axis=1)
    ids = cells.ids[requests.rows[:, None], columns]
    tokens = level_tokens(cells, requests)
    tokens[:, -1] += cells.tail_tokens
    taken = reused_by_level(tokens, reused, cells.head_tokens)
    edges = np.zeros(count + 1, np.int64)
    np.cumsum(prompt_tokens, out=edges[1:])
    head = np.full(count, cells.head_tokens, np.int64)
    parents = np.zeros(1, np.int64)
    whole = Strip(edges, max_folded_share, head, np.minimum(reused, head))
    levels = [
        Level(
            "instruction", False, int(head.sum()), int(whole.reused.sum()),
            (whole.node(0, count, 1, "system message and instruction"),),
        )
    ]  # fmt: skip
    changed = np.zeros(count, np.bool_)
    changed[:1] = True
    last = fields if fields <= MAX_LEVELS else MAX_LEVELS - 1
    for at in range(last):
        here = ids[:, at].astype(np.int64) * fields + places[:, at]
        changed = changed | np.concatenate([[True], here[1:] != here[:-1]])
        name, mixed = _name(cells.fields, places[:, at])
        strip = Strip(edges, max_folded_share, tokens[:, at], taken[:, at])
        nodes, parents = strip.fold(changed, parents, _Labels(cells, ids[:, at], places[:, at], name))
        levels.append(Level(name, mixed, int(tokens[:, at].sum()), int(taken[:, at].sum()), nodes))
    if last < fields:
        rest, rest_taken = tokens[:, last:].sum(axis=1), taken[:, last:].sum(axis=1)
        here = np.concatenate([[True], (ids[1:, last:] != ids[:-1, last:]).any(axis=1)])
        nodes, _ = Strip(edges, max_folded_share, rest, rest_taken).fold(changed | here, parents, None)
        name = f"… {fields - last} more fields"
        levels.append(Level(name, True, int(rest.sum()), int(rest_taken.sum()), nodes))
    return PrefixTree(tuple(levels), int(edges[-1]))


def typical_window(blocks: Blocks, reused: NDArray[np.int64]) -> tuple[int, int]:
    """Returns `CLOSER_REQUESTS` requests in a row that reuse about as much as all do.

    Of those that come near, the one whose first request reuses least: there a group of the plan begins.
    """
    size = min(CLOSER_REQUESTS, len(reused))
    hit, sent = (np.concatenate([[0], np.cumsum(values)]) for values in (reused, blocks.prompt_tokens))
    away = np.abs((hit[size:] - hit[:-size]) / (sent[size:] - sent[:-size]) - hit[-1] / sent[-1])
    near = np.flatnonzero(away <= max(_NEAR_SHARE, float(away.min())))
    best = int(near[reused[near].argmin()])
    return best, best + size


def _name(fields: tuple[str, ...], places: NDArray[np.int64]) -> tuple[str, bool]:
    top = Counter(dict(enumerate(np.bincount(places, minlength=len(fields)).tolist()))).most_common(2)
    if len(top) == 1 or top[0][1] >= _ONE_NAME_SHARE * len(places):
        return fields[top[0][0]], top[0][1] < len(places)
    return f"{fields[top[0][0]]}, {fields[top[1][0]]}, …", True


class Labels(Protocol):
    """What the nodes of a level are called."""

    def of(self, request: int) -> str:
        """The label of the node that begins with a request."""
        ...


@dataclass(frozen=True, slots=True)
class _Labels:
    cells: Cells
    ids: NDArray[np.int32]
    places: NDArray[np.int64]
    level: str

    def of(self, request: int) -> str:
        """The value at this level, cut where no picture could show it."""
        value = self.cells.texts[self.ids[request]]
        value = str(json.loads(value)) if value.startswith('"') else value
        value = value if len(value) <= _LABEL_CHARS else value[:_LABEL_CHARS] + "…"
        field = self.cells.fields[self.places[request]]
        return value if field == self.level else f"{value} · {field}"


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
