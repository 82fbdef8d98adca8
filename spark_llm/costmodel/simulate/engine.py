"""The simulated engine: one event per step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from spark_llm.costmodel.simulate.result import Result, StepRecord
from spark_llm.costmodel.simulate.scheduler import Limits, Scheduler
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

__all__ = ["Limits", "Simulation", "Transfers"]


class Transfers(Protocol):
    """What moves beside the computation, and when the step has to wait for it."""

    def wait_s(self, kv_blocks: int, step_s: float) -> float:
        """Seconds a step of `step_s` seconds is longer, with `kv_blocks` in use."""


class Simulation:
    """A run of a workload; `run` may be called once.

    Differs from vLLM, besides what its parts say: a row's last draft may lie beyond its answer's end and is
    then not cut off.

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
        drafts = acceptance.drafts if acceptance is not None else 0
        longest = int((workload.prompt_tokens + workload.output_tokens).max(initial=0)) + drafts
        if -(-longest // limits.block_tokens) > limits.kv_blocks:
            raise ValueError(
                f"a row of {longest} tokens does not fit {limits.kv_blocks} blocks of {limits.block_tokens}"
            )
        self._limits, self._step_time, self._acceptance = limits, step_time, acceptance
        self._draft_time = draft_time or DraftTime()
        self._transfers, self._trace = transfers, trace
        self._rng = np.random.default_rng(seed)
        self._policy: Policy | None = None
        self._choosing: tuple[Ints, Ints] = (np.zeros(0, np.int64), np.zeros(0, np.int64))
        self.result = Result(k_histogram=np.zeros(drafts + 1, dtype=np.int64))
        self._scheduler = Scheduler(workload, limits, self.result)
        self.now_s = self._scheduler.next_arrival_s() or 0.0

    def run(self, policy: Policy | None = None) -> Result:
        """Runs until all rows are answered.

        Args:
            policy: draft lengths; None never drafts.
        """
        self._policy = policy
        started_s = self.now_s
        while self._scheduler.unfinished:
            self.now_s = max(self.now_s, self._scheduler.next_arrival_s() or 0.0)
            self._step()
        self.result.makespan_s = self.now_s - started_s
        return self.result

    def survival(self) -> Floats:
        """Shape (decoding rows, drafts): the truth about the step whose draft lengths are being chosen.

        An oracle asks for it; entry j is the probability that the first j + 1 drafts of a row are right.
        """
        rows, generated = self._choosing
        if self._acceptance is None:
            return np.zeros((len(rows), 0))
        return self._acceptance.survival(rows, generated, self.result.steps)

    def _step(self) -> None:
        batch, result, policy = self._scheduler.batch, self.result, self._policy
        need = batch.tokens - batch.computed
        decoding = (need == 1) & (batch.generated > 0)
        at = np.flatnonzero(decoding)
        forced = self._draft(at, need)
        given, preempted = self._scheduler.schedule(need, decoding, self.now_s)
        if len(preempted):
            if policy is not None:
                policy.release(preempted)
            at = at[at < len(given)]
            forced = forced[: len(at)]

        drafted = np.maximum(given[at] - 1, 0)
        draft_tokens = int(drafted.sum())
        scheduled = given > 0
        kv_tokens = int(batch.computed[scheduled].sum())
        tokens, sequences = int(given.sum()), int(np.count_nonzero(scheduled))
        prefill_tokens = tokens - int(given[at].sum())
        step_s = self._step_time.predict(kv_tokens, tokens, sequences, prefill_tokens)
        if self._transfers is not None:
            step_s += self._transfers.wait_s(self._scheduler.used_blocks, step_s)
        draft_s, accepted, accepted_tokens = 0.0, drafted, 0
        if draft_tokens and self._acceptance is not None:
            drafting = int(np.count_nonzero(drafted))
            draft_s = self._draft_time.predict(step_s, drafting, draft_tokens, int(drafted.max()))
            accepted = self._acceptance.draw(
                batch.row[at], batch.generated[at], result.steps, drafted, self._rng
            )
            accepted_tokens = int(accepted.sum())
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

    def _draft(self, at: Ints, need: Ints) -> Ints:
        """Adds draft lengths to `need`; returns how many leading drafts of each decoding row are forced."""
        if self._policy is None or not len(at) or self._acceptance is None:
            return np.zeros(len(at), dtype=np.int64)
        batch = self._scheduler.batch
        self._choosing = rows, generated = batch.row[at], batch.generated[at]
        drafts, forced = self._acceptance.offer(rows, generated)
        waiting, waiting_tokens = self._scheduler.admissible(self.now_s)
        step = Step(
            slots=batch.slot[at],
            drafts=drafts,
            forced=forced,
            kv_tokens=int(batch.computed[at].sum()),
            prefill_tokens=int(need.sum()) - len(at) + waiting_tokens,
            prefill_rows=batch.rows - len(at) + waiting,
            chunk_tokens=self._limits.chunk_tokens,
        )
        need[at] += np.maximum(0, np.minimum(self._policy.draft_lengths(step), drafts))
        return forced

    def _advance(self, given: Ints, at: Ints, drafted: Ints, accepted: Ints) -> None:
        """Adds what the step generated, and lets finished rows go."""
        batch = self._scheduler.batch
        batch.computed[:] += given
        batch.computed[at] -= drafted - accepted
        gained = (batch.computed >= batch.tokens).astype(np.int64)
        gained[at] = np.where(given[at] > 0, accepted + 1, 0)
        batch.tokens[:] += gained
        batch.generated[:] += gained
        done = batch.generated >= batch.output
        if not done.any():
            return
        self.result.rows += int(np.count_nonzero(done))
        self.result.generated_tokens += int(batch.output[done].sum())
        slots = batch.slot[done]
        self._scheduler.finish(done)
        if self._policy is not None:
            self._policy.release(slots)
