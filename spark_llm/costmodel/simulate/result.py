"""What a simulated run came to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]


class StepRecord(NamedTuple):
    """One step of a trace; tokens as in `spark_llm.smartspec.policy.StepResult`."""

    start_s: float
    step_s: float
    draft_s: float
    kv_tokens: int
    tokens: int
    prefill_tokens: int
    sequences: int
    decoding: int
    draft_tokens: int
    accepted_tokens: int


@dataclass
class Result:
    """Totals of a run.

    Attributes:
        rows: finished.
        makespan_s: from the first arrival to the last finish, waiting for arrivals included.
        steps: steps in which anything was computed.
        generated_tokens: of finished rows' answers.
        prompt_tokens: looked up in the prefix cache at admission, again after each preemption.
        hit_tokens: those found there.
        prefill_tokens: prompt tokens computed, recomputation after preemption included.
        preemptions: rows that lost their blocks.
        draft_tokens: verified.
        accepted_tokens: those that were right.
        k_histogram: shape (longest draft + 1,): decoding rows per draft length, over all steps.
        trace: a record per step, where asked for.
    """

    rows: int = 0
    makespan_s: float = 0.0
    steps: int = 0
    generated_tokens: int = 0
    prompt_tokens: int = 0
    hit_tokens: int = 0
    prefill_tokens: int = 0
    preemptions: int = 0
    draft_tokens: int = 0
    accepted_tokens: int = 0
    k_histogram: Ints = field(default_factory=lambda: np.zeros(1, dtype=np.int64))
    trace: list[StepRecord] = field(default_factory=list)

    @property
    def rows_per_s(self) -> float:
        """0 where nothing was run."""
        return self.rows / self.makespan_s if self.makespan_s else 0.0

    @property
    def tokens_per_s(self) -> float:
        """Generated ones."""
        return self.generated_tokens / self.makespan_s if self.makespan_s else 0.0

    @property
    def hit_share(self) -> float:
        """Of the prompt tokens looked up."""
        return self.hit_tokens / self.prompt_tokens if self.prompt_tokens else 0.0
