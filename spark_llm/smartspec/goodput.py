"""The published controller: one draft length for the batch, the one with the most goodput."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spark_llm.smartspec.acceptance import DEFAULT

if TYPE_CHECKING:
    from spark_llm.costmodel.step_time import DraftTime, StepTime
    from spark_llm.smartspec.policy import Ints, Step, StepResult

KEEP = 0.85
"""Of the old acceptance at each observation."""
DECIDE_EVERY = 20
"""Steps between two decisions."""
MUST_WIN = 1.1
"""What the goodput of k = 0 is multiplied with."""
OFF_AFTER = 40
"""Steps with nothing verified, after which it is off."""
RETRY_AFTER = 100
"""Steps that it is off."""


def expected_tokens(acceptance: float, k: int) -> float:
    """Tokens of a row that verifies k drafts, bonus token included: `l(α, k) = (1 − α^(k+1)) / (1 − α)`."""
    if acceptance >= 1.0:
        return k + 1.0
    return float((1.0 - acceptance ** (k + 1)) / (1.0 - acceptance))


class Goodput:
    """`argmax G/T` with `G = m·l(α, k) + (B − m)`: m of B rows have drafts.

    Source: SmartSpec (arXiv 2406.14066) and its code for vLLM's first engine: acceptance is a moving average
    of accepted over drafted, decisions stand for 20 steps, the search stops at the first decrease, k = 0
    counts 1.1 times; n-gram drafting is off after 40 steps with nothing verified and tried again 100 steps
    later.

    Differs from the paper: that engine computed prompts in steps of their own. Here they share the step, and
    T is the time of the step with the prompt tokens that still fit in. The guard against a full KV cache is
    missing: the engine's scheduler takes drafts back where it has no block for them.

    Args:
        time: of a step.
        draft: what drafting adds.
        kmax: most draft tokens of a row.
        decode_only: leave prompt tokens out of T, as the code's later tuner does.
    """

    def __init__(self, time: StepTime, draft: DraftTime, kmax: int, *, decode_only: bool = False) -> None:
        self.acceptance = DEFAULT
        self.k = 0
        self._time, self._draft, self._kmax, self._decode_only = time, draft, kmax, decode_only
        self._steps = 0
        self._nothing_verified = 0
        self._off = 0

    def goodput(self, step: Step, k: int) -> float:
        """Tokens per second of a step in which every row that has drafts verifies k of them."""
        rows = len(step.slots)
        drafting = int(np.count_nonzero(step.drafts)) if k else 0
        decode_tokens = rows + k * drafting
        prefill_tokens = (
            0 if self._decode_only else min(step.prefill_tokens, step.chunk_tokens - decode_tokens)
        )
        prefill_tokens = max(prefill_tokens, 0)
        sequences = rows + (step.prefill_rows if prefill_tokens else 0)
        step_s = self._time.predict(step.kv_tokens, decode_tokens + prefill_tokens, sequences, prefill_tokens)
        step_s += self._draft.predict(step_s, drafting, k * drafting, k)
        tokens = drafting * expected_tokens(self.acceptance, k) + (rows - drafting)
        return tokens / step_s * (MUST_WIN if k == 0 else 1.0)

    def draft_lengths(self, step: Step) -> Ints:
        """Shape (decoding rows,): k of each row."""
        if len(step.slots):
            if self._off:
                self._off -= 1
                self.k = 0
            elif self._steps % DECIDE_EVERY == 0:
                self.k = self._search(step)
            self._steps += 1
        return np.minimum(step.drafts, self.k)

    def observe(self, result: StepResult) -> None:
        """Moves acceptance towards accepted over drafted."""
        drafted = int(result.drafted.sum())
        if drafted:
            self.acceptance += (1.0 - KEEP) * (int(result.accepted.sum()) / drafted - self.acceptance)
            self._nothing_verified = 0
        elif len(result.slots) and not self._off:
            self._nothing_verified += 1
            if self._nothing_verified >= OFF_AFTER:
                self._nothing_verified, self._off, self._steps = 0, RETRY_AFTER, 0
                # Tried again without the acceptance that switched it off.
                self.acceptance = DEFAULT

    def release(self, slots: Ints) -> None:
        """Keeps nothing per row."""

    def _search(self, step: Step) -> int:
        best = self.goodput(step, 0)
        for k in range(1, self._kmax + 1):
            here = self.goodput(step, k)
            if here < best:
                return k - 1
            best = here
        return self._kmax
