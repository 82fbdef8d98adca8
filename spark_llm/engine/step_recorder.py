"""What each step of the engine computed and how long it took, for fitting a cost model.

vLLM says so only where it was started with `--enable-logging-iteration-details`, which also writes a line per
step to its log: an engine that is measured is started with it, others record nothing.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from spark_llm.engine.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable

# Option of the engine without which there is nothing to record.
DETAILS_OPTION = "enable-logging-iteration-details"


class EngineStep(NamedTuple):
    """One step; the order of the fields is that of the wire.

    Attributes:
        kv_tokens: that the rows had before the step. Of rows whose prompt was computed in several chunks, the
            former chunks are not among them.
        tokens: computed: prompts, one per decoding row, drafts.
        prefill_tokens: prompt tokens among them.
        sequences: rows in the step.
        model_s: seconds in which the engine waited for the model.
        period_s: seconds since the step before, as the rows that took part in both saw them; 0 for a step
            without such rows.
    """

    kv_tokens: int
    tokens: int
    prefill_tokens: int
    sequences: int
    model_s: float
    period_s: float


class StepRecorder(Progress):
    """One of vLLM's stat loggers; keeps the last steps.

    Args:
        context_tokens: tokens that all decoding rows have now.
        most: steps to keep.
        now: monotonic seconds.
    """

    def __init__(
        self,
        context_tokens: Callable[[], int],
        most: int = 20_000,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(now)
        self._context_tokens = context_tokens
        self._steps: deque[EngineStep] = deque(maxlen=most)
        self._context = 0

    def record(self, scheduler_stats: Any = None, iteration_stats: Any = None, **_more: Any) -> None:
        """The engine took a step; vLLM passes its `SchedulerStats` and `IterationStats`."""
        super().record()
        details = getattr(scheduler_stats, "iteration_details", None)
        if details is None or details.is_dummy:
            return
        hits, period_s = 0, 0.0
        if iteration_stats is not None:
            hits = iteration_stats.prompt_token_stats.cached_tokens
            # A row that was preempted in between saw more than one step.
            period_s = min(iteration_stats.inter_token_latencies_iter, default=0.0)
        self._steps.append(
            EngineStep(
                kv_tokens=self._context + hits,
                tokens=details.num_ctx_tokens + details.num_generation_tokens,
                prefill_tokens=details.num_ctx_tokens,
                sequences=details.num_ctx_requests + details.num_generation_requests,
                model_s=details.elapsed_ms / 1000,
                period_s=max(0.0, period_s),
            )
        )
        self._context = self._context_tokens()

    def clear(self) -> None:
        """Forgets all steps."""
        self._steps.clear()

    def steps(self) -> list[EngineStep]:
        """Oldest first."""
        return list(self._steps)


def context_tokens(output_processor: Any) -> int:
    """Tokens of all rows that decode: prompts and answers so far, but the last one, which is not computed.

    Args:
        output_processor: vLLM's.
    """
    return sum(
        state.prompt_len + state.stats.num_generation_tokens - 1
        for state in output_processor.request_states.values()
        if not state.is_prefilling and state.stats is not None
    )
