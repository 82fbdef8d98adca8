"""The simulated engine: one event per step."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from spark_llm.costmodel.simulate.batch import Batch
from spark_llm.costmodel.simulate.blocks import BlockCache
from spark_llm.costmodel.simulate.result import Result, StepRecord
from spark_llm.costmodel.step_time import DraftTime
from spark_llm.smartspec.policy import Step, StepResult

if TYPE_CHECKING:
    import numpy.typing as npt

    from spark_llm.costmodel.simulate.acceptance import Acceptance
    from spark_llm.costmodel.simulate.workload import Workload
    from spark_llm.costmodel.step_time import StepTime
    from spark_llm.smartspec.policy import Policy

    Ints = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.float64]


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


class Transfers(Protocol):
    """What moves beside the computation, and when the step has to wait for it."""

    def wait_s(self, kv_blocks: int, step_s: float) -> float:
        """Seconds a step of `step_s` seconds is longer, with `kv_blocks` in use."""


class Simulation:
    """A run of a workload; `run` may be called once.

    Source: the order of vLLM's `Scheduler.schedule`: running rows first, in the order of admission, prompts
    in chunks of what the budget leaves; a row that finds no block preempts the last admitted; waiting rows
    are admitted where nothing was preempted, when their whole prompt fits.
    Differs from it: a row's last draft may lie beyond its answer's end and is then not cut off.

    Args:
        workload: what is asked.
        limits: of the engine.
        step_time: seconds of a step.
        acceptance: which drafts are right; None: nothing can be drafted.
        draft_time: seconds of drafting.
        seed: of the acceptance draws.
        transfers: what else a step waits for.
        trace: keep a record per step.

    Raises:
        ValueError: a row can never fit the KV cache, or the limits are not positive.
    """

    def __init__(
        self,
        workload: Workload,
        limits: Limits,
        step_time: StepTime,
        acceptance: Acceptance | None = None,
        draft_time: DraftTime | None = None,
        seed: int = 0,
        transfers: Transfers | None = None,
        *,
        trace: bool = False,
    ) -> None:
        if min(limits.max_sequences, limits.chunk_tokens, limits.kv_blocks, limits.block_tokens) < 1:
            raise ValueError(f"limits must be positive: {limits}")
        prompts = workload.prompt_tokens
        drafts = acceptance.drafts if acceptance is not None else 0
        longest = int((prompts + workload.output_tokens).max(initial=0)) + drafts
        if -(-longest // limits.block_tokens) > limits.kv_blocks:
            raise ValueError(
                f"a row of {longest} tokens does not fit {limits.kv_blocks} blocks of {limits.block_tokens}"
            )
        self._limits, self._step_time, self._acceptance = limits, step_time, acceptance
        self._draft_time = draft_time or DraftTime()
        self._transfers, self._trace = transfers, trace
        self._rng = np.random.default_rng(seed)
        self._cache = BlockCache(workload, limits.kv_blocks, limits.block_tokens, enabled=limits.prefix_cache)
        self._batch = Batch(limits.max_sequences)
        self._policy: Policy | None = None
        self._prompts = prompts.tolist()
        self._prompts_before = np.concatenate(([0], np.cumsum(prompts)))
        self._outputs = workload.output_tokens.tolist()
        self._nodes = workload.nodes.tolist() or [-1] * len(self._prompts)
        self._arrival_s = workload.arrival_s if len(workload.arrival_s) else np.zeros(len(self._prompts))
        self._next = 0  # first row that was never admitted
        self._preempted: deque[tuple[int, int]] = deque()  # (row, tokens it had generated)
        self._decoding: tuple[Ints, Ints] = (np.zeros(0, np.int64), np.zeros(0, np.int64))
        self.result = Result(k_histogram=np.zeros(drafts + 1, dtype=np.int64))
        self.now_s = float(self._arrival_s[0]) if len(self._prompts) else 0.0

    def run(self, policy: Policy | None = None) -> Result:
        """Runs until all rows are answered.

        Args:
            policy: draft lengths; None never drafts.
        """
        self._policy = policy
        started_s = self.now_s
        while self._batch.rows or self._preempted or self._next < len(self._prompts):
            if not self._batch.rows and not self._preempted:
                self.now_s = max(self.now_s, float(self._arrival_s[self._next]))
            self._step()
        self.result.makespan_s = self.now_s - started_s
        return self.result

    def survival(self) -> Floats:
        """Shape (decoding rows, drafts): the truth about the step whose draft lengths are being chosen.

        An oracle asks for it; entry j is the probability that the first j + 1 drafts of a row are right.
        """
        rows, generated = self._decoding
        if self._acceptance is None:
            return np.zeros((len(rows), 0))
        return self._acceptance.survival(rows, generated, self.result.steps)

    def _step(self) -> None:
        batch, result, policy = self._batch, self.result, self._policy
        need = batch.tokens - batch.computed
        decoding = (need == 1) & (batch.generated > 0)
        at = np.flatnonzero(decoding)
        drafted, forced = self._draft(at, need)
        if policy is not None:
            need[at] += drafted
        preempted = result.preemptions
        given, budget = self._schedule_running(need)
        decoding = decoding[: batch.rows]
        self._share(given, decoding)
        if result.preemptions == preempted:
            given = self._admit(given, budget)
        at = at[at < len(decoding)]
        forced = forced[: len(at)]

        drafted = np.maximum(given[at] - 1, 0)
        draft_tokens = int(drafted.sum())
        scheduled = given > 0
        kv_tokens = int(batch.computed[scheduled].sum())
        tokens, sequences = int(given.sum()), int(np.count_nonzero(scheduled))
        prefill_tokens = tokens - int(given[at].sum())
        step_s = self._step_time.predict(kv_tokens, tokens, sequences, prefill_tokens)
        if self._transfers is not None:
            in_use = self._limits.kv_blocks - self._cache.available
            step_s += self._transfers.wait_s(in_use, step_s)
        draft_s = 0.0
        accepted = drafted
        if draft_tokens and self._acceptance is not None:
            draft_s = self._draft_time.predict(
                step_s, int(np.count_nonzero(drafted)), draft_tokens, int(drafted.max())
            )
            accepted = self._acceptance.draw(
                batch.row[at], batch.generated[at], result.steps, drafted, self._rng
            )
        accepted_tokens = int(accepted.sum()) if draft_tokens else 0
        if self._trace:
            result.trace.append(
                StepRecord(
                    self.now_s, step_s, draft_s, kv_tokens, tokens, prefill_tokens, sequences,
                    len(at), draft_tokens, accepted_tokens,
                )
            )  # fmt: skip
        self.now_s += step_s + draft_s
        result.steps += 1
        result.prefill_tokens += prefill_tokens
        result.draft_tokens += draft_tokens
        result.accepted_tokens += accepted_tokens
        result.k_histogram += np.bincount(drafted, minlength=len(result.k_histogram))
        if policy is not None and len(at):
            observed = StepResult(
                batch.slot[at], drafted, accepted, np.minimum(forced, drafted),
                kv_tokens, tokens, prefill_tokens, sequences, step_s, draft_s,
            )  # fmt: skip
            policy.observe(observed)
        self._advance(given, at, drafted, accepted)

    def _draft(self, at: Ints, need: Ints) -> tuple[Ints, Ints]:
        """Draft lengths of the decoding rows, and how many leading drafts of each are forced."""
        policy, none = self._policy, np.zeros(len(at), dtype=np.int64)
        if policy is None or not len(at) or self._acceptance is None:
            return none, none
        batch = self._batch
        self._decoding = rows, generated = batch.row[at], batch.generated[at]
        drafts, forced = self._acceptance.offer(rows, generated)
        kv_tokens = int(batch.computed[at].sum())
        waiting, waiting_tokens = self._admissible()
        step = Step(
            slots=batch.slot[at],
            drafts=drafts,
            forced=forced,
            kv_tokens=kv_tokens,
            prefill_tokens=int(need.sum()) - len(at) + waiting_tokens,
            prefill_rows=batch.rows - len(at) + waiting,
            chunk_tokens=self._limits.chunk_tokens,
        )
        return np.maximum(0, np.minimum(policy.draft_lengths(step), drafts)), forced

    def _admissible(self) -> tuple[int, int]:
        """Waiting rows that have a place in this step, and the tokens that they need computed.

        The share of hits so far is taken off: what a waiting row will hit is known at its admission only.
        """
        room = self._limits.max_sequences - self._batch.rows
        again = min(room, len(self._preempted))
        tokens = sum(self._prompts[self._preempted[i][0]] for i in range(again))
        end = min(self._next + room - again, int(np.searchsorted(self._arrival_s, self.now_s, side="right")))
        end = max(end, self._next)
        tokens += int(self._prompts_before[end] - self._prompts_before[self._next])
        return again + end - self._next, round(tokens * (1 - self.result.hit_share))

    def _schedule_running(self, need: Ints) -> tuple[Ints, int]:
        """Tokens for each running row, after preempting until they fit; and what is left of the budget."""
        batch, size = self._batch, self._limits.block_tokens
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
        given = given[: batch.rows]
        return given, self._limits.chunk_tokens - int(given.sum())

    def _preempt_last(self) -> None:
        batch = self._batch
        last = batch.rows - 1
        self._preempted.appendleft((int(batch.row[last]), int(batch.generated[last])))
        self._release(last)
        if self._policy is not None:
            self._policy.release(batch.slot[last:])
        batch.drop_last()
        self.result.preemptions += 1

    def _admit(self, given: Ints, budget: int) -> Ints:
        """Starts waiting rows as long as budget, places and blocks last; returns `given` with theirs."""
        size, batch, cache, added = self._limits.block_tokens, self._batch, self._cache, []
        while budget > 0 and batch.rows < self._limits.max_sequences:
            if self._preempted:
                row, generated = self._preempted[0]
            elif self._next < len(self._prompts) and self._arrival_s[self._next] <= self.now_s:
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
            batch.blocks[place], batch.shared[place] = blocks, shared
            # Known at once, so that rows admitted in the same step hit it.
            batch.shared[place] += cache.share(node, (hit * size + now) // size) if node >= 0 else 0
            added.append(now)
            budget -= now
            self.result.prompt_tokens += tokens
            self.result.hit_tokens += hit * size
        return np.concatenate((given, np.array(added, dtype=np.int64))) if added else given

    def _share(self, given: Ints, decoding: npt.NDArray[np.bool_]) -> None:
        batch, size = self._batch, self._limits.block_tokens
        for place in np.flatnonzero(~decoding & (batch.node >= 0) & (batch.computed > 0)).tolist():
            node = int(batch.node[place])
            if batch.computed[place] < self._cache.prefix_blocks(node) * size:
                full = int(batch.computed[place] + given[place]) // size
                batch.shared[place] += self._cache.share(node, full)

    def _advance(self, given: Ints, at: Ints, drafted: Ints, accepted: Ints) -> None:
        """Adds what the step generated, and lets finished rows go."""
        batch = self._batch
        batch.computed[:] += given
        batch.computed[at] -= drafted - accepted
        gained = (batch.computed >= batch.tokens).astype(np.int64)
        gained[at] = np.where(given[at] > 0, accepted + 1, 0)
        batch.tokens[:] += gained
        batch.generated[:] += gained
        done = batch.generated >= batch.output
        if not done.any():
            return
        places = np.flatnonzero(done)
        self.result.rows += len(places)
        self.result.generated_tokens += int(batch.output[places].sum())
        for place in places.tolist():
            self._release(place)
        if self._policy is not None:
            self._policy.release(batch.slot[places])
        batch.keep(~done)

    def _release(self, place: int) -> None:
        batch = self._batch
        own = int(batch.blocks[place] - batch.shared[place])
        full = int(batch.computed[place]) // self._limits.block_tokens - int(batch.shared[place])
        self._cache.release(int(batch.node[place]), int(batch.row[place]), max(0, full), own)
