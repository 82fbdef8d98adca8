"""KV blocks of the simulated engine: prefix hits, references, eviction of the least recently used."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spark_llm.costmodel.simulate.workload import Workload


class BlockCache:
    """Counts blocks per trie node and per row, as vLLM's block pool keeps them per block.

    Source: vLLM's `BlockPool`: only full blocks are shared; what nobody refers to stays until its room is
    needed, the longest unused first, a prompt's end before its start.
    Differs from it: a row that hits part of a node holds all of the node.

    Args:
        workload: its trie.
        blocks: in all.
        block_tokens: tokens per block.
        enabled: False: nothing is kept and nothing is hit.
    """

    def __init__(self, workload: Workload, blocks: int, block_tokens: int, *, enabled: bool) -> None:
        self._block_tokens = block_tokens
        self._enabled = enabled
        self._unused = blocks
        self._idle: OrderedDict[int, int] = OrderedDict()  # node, or -1 - row: blocks nobody refers to
        self._idle_blocks = 0
        ends = (workload.depths // block_tokens).tolist()
        self._ends: list[int] = ends
        self._starts = [ends[p] if p >= 0 else 0 for p in workload.parents.tolist()]
        self._kept = [0] * len(ends)
        self._references = [0] * len(ends)
        self._paths = workload.paths()
        self.blocks = blocks

    @property
    def available(self) -> int:
        """Blocks that could be handed out now."""
        return self._unused + self._idle_blocks

    def lookup(self, node: int, row: int, tokens: int) -> tuple[int, int, int]:
        """What a waiting row would find; changes nothing.

        Args:
            node: of the row; -1 for none.
            row: its number.
            tokens: that it needs computed; the last one always is.

        Returns:
            (blocks hit, those of them that are shared, shared blocks that nobody refers to now).
        """
        if not self._enabled:
            return 0, 0, 0
        most, hit, idle = (tokens - 1) // self._block_tokens, 0, 0
        complete = True
        for step in self._paths[node] if node >= 0 else ():
            found = min(self._kept[step], most - hit)
            hit += found
            if not self._references[step]:
                idle += self._kept[step]
            if hit < self._ends[step]:
                complete = False
                break
        own = min(self._idle.get(-1 - row, 0), most - hit) if complete else 0
        return hit + own, hit, idle

    def admit(self, node: int, row: int) -> None:
        """Holds the row's path, and takes what is left of its own blocks from an earlier stay.

        The caller counts the hit ones of its own blocks as the row's; others are unused again.
        """
        for step in self._paths[node] if self._enabled and node >= 0 else ():
            self._references[step] += 1
            if self._references[step] == 1:
                self._idle_blocks -= self._idle.pop(step, 0)
        own = self._idle.pop(-1 - row, 0)
        self._idle_blocks -= own
        self._unused += own

    def take(self, blocks: int) -> None:
        """Hands out blocks, of which there are at most `available`."""
        self._unused -= blocks
        while self._unused < 0:
            key, kept = next(iter(self._idle.items()))
            evicted = min(kept, -self._unused)
            self._unused += evicted
            self._idle_blocks -= evicted
            if evicted == kept:
                del self._idle[key]
            else:
                self._idle[key] = kept - evicted
            if key >= 0:
                self._kept[key] -= evicted

    def share(self, node: int, full_blocks: int) -> int:
        """Makes blocks that a row computed known to others; returns how many it was the first to have.

        Args:
            node: of the row.
            full_blocks: leading blocks that it has computed or is about to compute in this step.
        """
        if not self._enabled:
            return 0
        shared = 0
        for step in self._paths[node]:
            new = min(full_blocks, self._ends[step]) - self._starts[step] - self._kept[step]
            if new > 0:
                self._kept[step] += new
                shared += new
            if full_blocks < self._ends[step]:
                break
        return shared

    def prefix_blocks(self, node: int) -> int:
        """Full blocks of the path to a node; 0 for none."""
        return self._ends[node] if node >= 0 and self._enabled else 0

    def release(self, node: int, row: int, full_blocks: int, own_blocks: int) -> None:
        """Gives a row's blocks back, its own first.

        Args:
            node: of the row; -1 for none.
            row: its number.
            full_blocks: of its own, those that are full, and so may be hit when it comes back.
            own_blocks: of its own, all.
        """
        kept = min(full_blocks, own_blocks) if self._enabled else 0
        self._unused += own_blocks - kept
        if kept:
            self._idle[-1 - row] = kept
            self._idle_blocks += kept
        for step in reversed(self._paths[node]) if self._enabled and node >= 0 else ():
            self._references[step] -= 1
            if not self._references[step] and self._kept[step]:
                self._idle[step] = self._kept[step]
                self._idle_blocks += self._kept[step]
