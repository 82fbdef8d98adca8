"""States stored where the rows that wait will branch: planned junctions in vLLM's scheduler.

    row that starts    instruction │ film A │ review 1     its prompt is cut at │ and │
    rows that wait     instruction │ film A │ review 2     hits up to the second │
                       instruction │ film B │ review 3     hits up to the first │

vLLM keeps the state of a model with recurrent layers at the end of a prompt only, and at a junction from the
second row that comes by on (it is then known to be one). Here the first row stores it: each row of a planned
window tells where later rows of the window part from it (`Told`), and what waits in the queue shows it by
equal block hashes, also for rows that were not planned.

    _get_local_prefix_cache_hit   junctions of a new row beyond what it hits
    _mamba_block_aligned_split    the next of them is given to vLLM as the row's shared prefix: it ends the
                                  chunk there, and keeps the state

Source: vLLM 0.32, v1/core/sched/scheduler.py (`shared_prefix_boundary`). Inert without states in mode align.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from spark_llm.jenga.vllm_uses import told_of
from spark_llm.smartspec.vllm_plugin import settings_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from vllm.v1.core.sched.scheduler import Scheduler
    from vllm.v1.request import Request

    from spark_llm.jenga.uses import Told
else:
    Scheduler = object

LOOK_AHEAD_ROWS: Final = 64
MAX_JUNCTIONS: Final = 4


class JunctionMixin(Scheduler):
    """Goes before `vllm.v1.core.sched.scheduler.Scheduler`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        settings = settings_of(self.vllm_config, "memory") or {}
        self._plans_junctions = bool(
            settings.get("junctions")
            and self.need_mamba_block_aligned_split
            and not self.mamba_partial_cache_hit
            and not self.use_eagle
        )
        self._junctions: dict[str, list[int]] = {}

    def _get_local_prefix_cache_hit(self, request: Request) -> Any:
        found = super()._get_local_prefix_cache_hit(request)
        if self._plans_junctions:
            waiting = (other.block_hashes for other in self._next_rows() if other is not request)
            told = told_of(request, self.hash_block_size)[1]
            ends = junctions_of(request.block_hashes, waiting, told, self.block_size // self.hash_block_size)
            tokens = [end * self.hash_block_size for end in ends]
            self._junctions[request.request_id] = [
                at for at in tokens if found[1] < at < request.num_prompt_tokens
            ]
        return found

    def _next_rows(self) -> Iterable[Request]:
        return islice(self.waiting, LOOK_AHEAD_ROWS)

    def _mamba_block_aligned_split(
        self,
        request: Request,
        num_new_tokens: int,
        num_new_local_computed_tokens: int = 0,
        num_external_computed_tokens: int = 0,
    ) -> int:
        start = request.num_computed_tokens + num_new_local_computed_tokens + num_external_computed_tokens
        for at in self._junctions.get(request.request_id, ()):
            if at > start:
                request.shared_prefix_boundary = at
                break
        return int(
            super()._mamba_block_aligned_split(
                request, num_new_tokens, num_new_local_computed_tokens, num_external_computed_tokens
            )
        )

    def _free_request(self, request: Request, delay_free_blocks: bool = False) -> Any:
        self._junctions.pop(request.request_id, None)
        return super()._free_request(request, delay_free_blocks)


def junctions_of(
    hashes: Sequence[Any], others: Iterable[Sequence[Any]], told: Iterable[Told] = (), per_block: int = 1
) -> list[int]:
    """Where a prompt parts from others, in hashes from its front, ascending; the longest `MAX_JUNCTIONS`.

    Args:
        hashes: of the prompt, each of all tokens up to its end.
        others: the same of other prompts.
        told: what the prompt's plan says of prompts that are to come.
        per_block: hashes per block; a junction is a whole number of blocks.
    """
    ends = {each.blocks // per_block * per_block for each in told if each.uses}
    for other in others:
        low, high = 0, min(len(hashes), len(other))
        while low < high:  # Chained hashes: equal here means equal before.
            middle = (low + high + 1) // 2
            low, high = (middle, high) if hashes[middle - 1] == other[middle - 1] else (low, middle - 1)
        ends.add(low // per_block * per_block)
    return sorted(ends - {0})[-MAX_JUNCTIONS:]
