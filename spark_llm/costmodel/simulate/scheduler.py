"""Who is in a step: the running rows first, then what waits."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spark_llm.costmodel.simulate.batch import Batch
from spark_llm.costmodel.simulate.blocks import BlockCache

if TYPE_CHECKING:
    import numpy.typing as npt

    from spark_llm.costmodel.simulate.result import Result
    from spark_llm.costmodel.simulate.workload import Workload

    Ints = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Limits:
    """Room of the engine; vLLM's name of each in brackets.

    Attributes:
        max_sequences: rows that run at a time (max_num_seqs).
        chunk_tokens: most tokens of a step (max_num_batched_tokens).
        kv_blocks: KV cache, in blocks (num_gpu_blocks).
        block_tokens: tokens per block (block_size).
        prefix_cache: whether prompts share blocks (enable_prefix_caching).
    """

    max_sequences: int
    chunk_tokens: int = 2048
    kv_blocks: int = 1 << 40
    block_tokens: int = 16
    prefix_cache: bool = True


class Scheduler:
    """Waiting queue, running rows and their blocks.

    Source: the order of vLLM's `Scheduler.schedule`: running rows first, in the order of admission, prompts
    in chunks of what the budget leaves; a row that finds no block preempts the last admitted; waiting rows
    are admitted where nothing was preempted, when their whole prompt fits.

    Args:
        workload: what is asked.
        limits: of the engine.
        result: where hits and preemptions are counted.
    """

    def __init__(self, workload: Workload, limits: Limits, result: Result) -> None:
        self._limits, self._result = limits, result
        self._cache = BlockCache(workload, limits.kv_blocks, limits.block_tokens, enabled=limits.prefix_cache)
        self.batch = Batch(limits.max_sequences)
        prompts = workload.prompt_tokens
        self._prompts = prompts.tolist()
        self._prompts_before = np.concatenate(([0], np.cumsum(prompts)))
        self._outputs = workload.output_tokens.tolist()
        self._nodes = workload.nodes.tolist() or [-1] * len(self._prompts)
        self._arrival_s = workload.arrival_s if len(workload.arrival_s) else np.zeros(len(self._prompts))
        self._next = 0  # first row that was never admitted
        self._preempted: deque[tuple[int, int]] = deque()  # (row, tokens it had generated)

    @property
    def unfinished(self) -> bool:
        """Whether any row is still to be answered."""
        return bool(self.batch.rows or self._preempted or self._next < len(self._prompts))

    def next_arrival_s(self) -> float | None:
        """When there will be work; None where there is some now, or no row left."""
        if self.batch.rows or self._preempted or self._next == len(self._prompts):
            return None
        return float(self._arrival_s[self._next])

    @property
    def used_blocks(self) -> int:
        """Blocks that running rows refer to."""
        return self._limits.kv_blocks - self._cache.available

    def admissible(self, now_s: float) -> tuple[int, int]:
        """Waiting rows that have a place in the next step, and the tokens that they need computed.

        The share of hits so far is taken off: what a waiting row will hit is known at its admission only.
        """
        room = self._limits.max_sequences - self.batch.rows
        again = min(room, len(self._preempted))
        tokens = sum(self._prompts[self._preempted[i][0]] for i in range(again))
        end = min(self._next + room - again, int(np.searchsorted(self._arrival_s, now_s, side="right")))
        end = max(end, self._next)
        tokens += int(self._prompts_before[end] - self._prompts_before[self._next])
        return again + end - self._next, round(tokens * (1 - self._result.hit_share))

    def schedule(self, need: Ints, decoding: Flags, now_s: float) -> tuple[Ints, Ints]:
        """Chooses the tokens of a step, preempting and admitting as it has to.

        Args:
            need: shape (running rows,): tokens that each could compute, drafts included.
            decoding: shape (running rows,): those that are past their prompt.
            now_s: what has arrived by then may be admitted.

        Returns:
            (tokens for each row that runs now, slots of the rows that were preempted). Preempted rows are the
            last of those that ran before, admitted ones come after them.
        """
        slots = self.batch.slot.copy()
        given = self._schedule_running(need)
        left = self.batch.rows
        self._share(given, decoding[:left])
        if left == len(slots):
            given = self._admit(given, self._limits.chunk_tokens - int(given.sum()), now_s)
        return given, slots[left:]

    def finish(self, done: Flags) -> None:
        """Lets the rows go where `done`, of shape (running rows,)."""
        for place in np.flatnonzero(done).tolist():
            self._release(place)
        self.batch.keep(~done)

    def _schedule_running(self, need: Ints) -> Ints:
        """Tokens for each running row, after preempting until they fit."""
        batch, size = self.batch, self._limits.block_tokens
        before = np.cumsum(need) - need
        given = np.maximum(0, np.minimum(self._limits.chunk_tokens - before, need))
        blocks = np.maximum(batch.blocks, (batch.computed + given + size - 1) // size * (given > 0))
        new = blocks - batch.blocks
        total = int(new.sum())
        while total > self._cache.available:
            total -= int(new[batch.rows - 1])
            self._preempt_last()
        if total:
            self._cache.take(total)
            batch.blocks[:] = blocks[: batch.rows]
        given = np.asarray(given[: batch.rows], dtype=np.int64)
        np.minimum(batch.computed + given, batch.tokens, out=batch.known)
        return given

    def _preempt_last(self) -> None:
        last = self.batch.rows - 1
        self._preempted.appendleft((int(self.batch.row[last]), int(self.batch.generated[last])))
        self._release(last)
        self.batch.drop_last()
        self._result.preemptions += 1

    def _admit(self, given: Ints, budget: int, now_s: float) -> Ints:
        """Starts waiting rows as long as budget, places and blocks last; returns `given` with theirs."""
        size, batch, cache, added = self._limits.block_tokens, self.batch, self._cache, []
        while budget > 0 and batch.rows < self._limits.max_sequences:
            if self._preempted:
                row, generated = self._preempted[0]
            elif self._next < len(self._prompts) and self._arrival_s[self._next] <= now_s:
                row, generated = self._next, 0
            else:
                break
            node, tokens = self._nodes[row], self._prompts[row] + generated
            hit, shared, idle = cache.lookup(node, row, tokens)
            if -(-tokens // size) - shared > cache.available - idle:
                break
            if self._preempted:
                self._preempted.popleft()
            else:
                self._next += 1
            cache.admit(node, row)
            now = min(tokens - hit * size, budget)
            blocks = -(-(hit * size + now) // size)
            cache.take(blocks - shared)
            place = batch.add(row, node, hit * size, tokens, generated, self._outputs[row])
            batch.blocks[place], batch.shared[place], batch.known[place] = blocks, shared, hit * size + now
            # Known at once, so that rows admitted in the same step hit it.
            batch.shared[place] += cache.share(node, (hit * size + now) // size) if node >= 0 else 0
            added.append(now)
            budget -= now
            self._result.prompt_tokens += tokens
            self._result.hit_tokens += hit * size
        return np.concatenate((given, np.array(added, dtype=np.int64))) if added else given

    def _share(self, given: Ints, decoding: Flags) -> None:
        """Makes known what running rows compute of their prefixes in this step."""
        batch, size = self.batch, self._limits.block_tokens
        for place in np.flatnonzero(~decoding & (batch.node >= 0)).tolist():
            node = int(batch.node[place])
            if batch.computed[place] < self._cache.prefix_blocks(node) * size:
                full = int(batch.computed[place] + given[place]) // size
                batch.shared[place] += self._cache.share(node, full)

    def _release(self, place: int) -> None:
        batch = self.batch
        own = int(batch.blocks[place] - batch.shared[place])
        full = int(batch.known[place]) // self._limits.block_tokens - int(batch.shared[place])
        self._cache.release(int(batch.node[place]), int(batch.row[place]), max(0, full), own)
