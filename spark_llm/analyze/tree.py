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
from typing import TYPE_CHECKING, Final

import numpy as np

from spark_llm.analyze.blocks import level_tokens
from spark_llm.analyze.fields import reused_by_level
from spark_llm.analyze.folding import Level, PrefixTree, Strip

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spark_llm.analyze.blocks import Blocks
    from spark_llm.analyze.cells import Cells
    from spark_llm.analyze.orders import Requests

MAX_LEVELS: Final = 10
MAX_FOLDED_SHARE: Final = 1 / 8
CLOSER_REQUESTS: Final = 60
_LABEL_CHARS: Final = 400
_ONE_NAME_SHARE: Final = 0.9
_NEAR_SHARE: Final = 0.01


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
