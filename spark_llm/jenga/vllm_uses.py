"""What rows tell of those to come, in vLLM's scheduler: counted, and gone by when blocks are evicted.

    request's extra_args["spark_llm_uses"] = [plan, tokens, uses, next_rows, tokens, …]       see `Told`
      Scheduler.add_request ─► RemainingUses.arrive      _free_request ─► finish      preempted ─► extend
                                    │ of, watch
                                    └─► vllm_queue   the free blocks of vLLM's pool

Our own allocator evicts as without: its large pages hold wanted pages beside others, and kept both.

Source: vLLM 0.32, v1/core/sched/scheduler.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spark_llm.engine.wire import USES_ARGUMENT
from spark_llm.jenga.uses import RemainingUses, Told
from spark_llm.smartspec.vllm_plugin import settings_of

if TYPE_CHECKING:
    from vllm.v1.core.sched.scheduler import Scheduler
    from vllm.v1.request import Request
else:
    Scheduler = object


def told_of(request: Request, unit_tokens: int) -> tuple[str, list[Told]]:
    """The plan and the junctions of a request; no junctions where it has none, or none that can be read.

    Args:
        request: as vLLM has it.
        unit_tokens: tokens per block hash.
    """
    sampling = request.sampling_params
    found = (sampling.extra_args or {}).get(USES_ARGUMENT) if sampling is not None else None
    if not isinstance(found, list) or len(found) % 3 != 1 or not isinstance(found[0], str):
        return "", []
    numbers = found[1:]
    if not all(isinstance(number, int) and number >= 0 for number in numbers):
        return "", []
    most = len(request.block_hashes)
    told = [
        Told(min(tokens // unit_tokens, most), uses, next_rows)
        for tokens, uses, next_rows in zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True)
    ]
    # Of several in a block the shortest counts: more rows read the block than part after it.
    return found[0], sorted((each for each in told if each.blocks), key=lambda each: each.blocks)


class UsesMixin(Scheduler):
    """Goes before `vllm.v1.core.sched.scheduler.Scheduler`, and before `JengaMixin`.

    Attributes:
        uses: of all planned rows; None where they are not counted.
    """

    uses: RemainingUses | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        settings = settings_of(self.vllm_config, "memory") or {}
        if not settings.get("uses") or not self.cache_config.enable_prefix_caching:
            return
        self.uses = RemainingUses()
        pool = self.kv_cache_manager.block_pool
        from spark_llm.jenga.vllm_queue import UsesQueue, windows_of

        windows = windows_of(self.kv_cache_config, self.hash_block_size)
        # Our own allocator has no such queue, and a connector may walk vLLM's list of free blocks.
        if hasattr(pool, "free_block_queue") and self.vllm_config.kv_transfer_config is None:
            pool.free_block_queue = UsesQueue(pool, self.uses, windows)

    def add_request(self, request: Request) -> None:  # noqa: D102
        if self.uses is not None and request.request_id not in self.requests:
            plan, told = told_of(request, self.hash_block_size)
            self.uses.arrive(request.request_id, plan, request.block_hashes, told)
        super().add_request(request)

    def _preempt_request(self, request: Request, *args: Any, **kwargs: Any) -> None:
        if self.uses is not None:
            self.uses.extend(request.request_id, request.block_hashes)
        super()._preempt_request(request, *args, **kwargs)

    def _free_request(self, request: Request, delay_free_blocks: bool = False) -> Any:
        if self.uses is not None:
            self.uses.finish(request.request_id)
        return super()._free_request(request, delay_free_blocks)

    def reset_prefix_cache(self, *args: Any, **kwargs: Any) -> bool:  # noqa: D102
        done = super().reset_prefix_cache(*args, **kwargs)
        queue = getattr(self.kv_cache_manager.block_pool, "free_block_queue", None)
        if done and queue is not None and hasattr(queue, "let_go"):
            queue.let_go()
        return bool(done)
