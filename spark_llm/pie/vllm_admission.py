"""How many blocks rows may have, while the engine runs: a scheduler mixin.

    steps ─► stalls, seconds ─► AdmissionCap.update ─► blocks that count as free
    free blocks: those with a page of their own in every layer first, then those that swap

To vLLM the engine has as many blocks as the cap says; rows wait, or are preempted when others grow, as in any
engine of that size. When the cap falls below what rows have, none is preempted for that: what they have is
the limit until they end. No answer ever changes.

Source: vLLM 0.32, v1/core/block_pool.py, v1/core/kv_cache_utils.py (`FreeKVCacheBlockQueue`). Inert unless
the engine's connector is ours.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from spark_llm.engine.vitals import VitalsWriter, leave_choice
from spark_llm.pie.admission import MAX_STALL_SHARE, WINDOW_STEPS, AdmissionCap
from spark_llm.pie.vllm_layers import MODE, PART
from spark_llm.smartspec.vllm_plugin import settings_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vllm.v1.core.kv_cache_utils import KVCacheBlock
    from vllm.v1.core.sched.output import SchedulerOutput
    from vllm.v1.core.sched.scheduler import Scheduler
    from vllm.v1.outputs import ModelRunnerOutput

    from spark_llm.pie.shared_pages import SharedPages
    from spark_llm.pie.vllm_layers_connector import SwapFigures
else:
    Scheduler = object

_FORGET: Final = 0.9
_LEAST: Final = 0.1


class NearFirstQueue:
    """vLLM's queue of free blocks, of which those that move nothing come first.

    Args:
        blocks: that are free, in the order of their ids.
        resident_blocks: blocks below it move nothing.

    Attributes:
        limit_blocks: that may be in use; None: all.
    """

    limit_blocks: int | None = None

    def __init__(self, blocks: Sequence[KVCacheBlock], resident_blocks: int) -> None:
        from vllm.v1.core.kv_cache_utils import FreeKVCacheBlockQueue

        self._resident, self._blocks = resident_blocks, len(blocks)
        self._near = FreeKVCacheBlockQueue([block for block in blocks if block.block_id < resident_blocks])
        self._shared = FreeKVCacheBlockQueue([block for block in blocks if block.block_id >= resident_blocks])

    @property
    def num_free_blocks(self) -> int:
        """Those that may be handed out."""
        free = int(self._near.num_free_blocks + self._shared.num_free_blocks)
        if self.limit_blocks is None:
            return free
        return min(free, max(self.limit_blocks - self.used_blocks, 0))

    @property
    def used_blocks(self) -> int:
        """Those that are in use."""
        return int(self._blocks - self._near.num_free_blocks - self._shared.num_free_blocks)

    def popleft(self) -> KVCacheBlock:
        """The next one."""
        return self.popleft_n(1)[0]

    def popleft_n(self, n: int) -> list[KVCacheBlock]:
        """The next ones."""
        near = min(n, self._near.num_free_blocks)
        return [*self._near.popleft_n(near), *self._shared.popleft_n(n - near)]

    def remove(self, block: KVCacheBlock) -> None:
        """Takes a block from the middle."""
        (self._near if block.block_id < self._resident else self._shared).remove(block)

    def append(self, block: KVCacheBlock) -> None:
        """A block that is free again."""
        self.append_n([block])

    def append_n(self, blocks: list[KVCacheBlock]) -> None:
        """Blocks that are free again, to be handed out last."""
        for queue, some in self._parts(blocks):
            queue.append_n(some)

    def prepend_n(self, blocks: list[KVCacheBlock]) -> None:
        """Blocks that are free again, to be handed out first."""
        for queue, some in self._parts(blocks):
            queue.prepend_n(some)

    def get_all_free_blocks(self) -> list[KVCacheBlock]:
        """In the order in which they will be handed out."""
        return [*self._near.get_all_free_blocks(), *self._shared.get_all_free_blocks()]

    def _parts(self, blocks: list[KVCacheBlock]) -> tuple[tuple[Any, list[KVCacheBlock]], ...]:
        near = [block for block in blocks if block.block_id < self._resident]
        return (self._near, near), (self._shared, [b for b in blocks if b.block_id >= self._resident])


class SwapWindows:
    """Stalls over seconds, window by window.

    A copy hides less well here than the cap's policy has it: behind the layers until its turn, not behind all
    of the pass. What was waited for makes copies count as so much longer that fewer blocks would not have
    waited, and less so with each window that did not wait.

    Args:
        cap: that follows them.
        adapts: whether it does; else all blocks may be used.
    """

    def __init__(self, cap: AdmissionCap, *, adapts: bool = True) -> None:
        self.cap, self.adapts, self.stall_share = cap, adapts, 0.0
        self._steps = self._used = 0
        self._seen = (0.0, 0.0, 0.0)
        self._longer = 1.0
        if not adapts:
            cap.blocks = cap.max_blocks

    def add(self, used_blocks: int, figures: SwapFigures) -> bool:
        """Counts a step; whether a window is over."""
        self._steps += 1
        self._used = max(self._used, used_blocks)
        if self._steps < WINDOW_STEPS:
            return False
        now = figures.copies.stall_s, figures.forward_s, figures.copies.load_s
        stall_s, seconds, copy_s = (later - before for later, before in zip(now, self._seen, strict=True))
        self.stall_share = stall_s / seconds if seconds > 0 else 0.0
        self._longer = max(self._longer * _FORGET, 1.0)
        if self.stall_share > MAX_STALL_SHARE and copy_s > 0:
            fits = max(1 - stall_s / copy_s, _LEAST)
            self._longer = max((seconds - stall_s) / (copy_s * fits), self._longer)
        if self.adapts:
            self.cap.update(self._used, stall_s, seconds, copy_s * self._longer)
        self._seen, self._steps, self._used = now, 0, 0
        return True


class AdmissionMixin(Scheduler):
    """Goes before `vllm.v1.core.sched.scheduler.Scheduler`."""

    swap_windows: SwapWindows | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        settings = settings_of(self.vllm_config, PART)
        if settings is None or settings.get("mode") != MODE:
            return
        pages, pool = self.connector.pages, self.kv_cache_manager.block_pool
        pool.free_block_queue = NearFirstQueue(
            pool.free_block_queue.get_all_free_blocks(), pages.resident_blocks
        )
        least = pages.resident_blocks or int(pages.near_pages / pages.turns.layers)
        # One row must always have its turn.
        least = min(max(least, -(-self.max_model_len // self.block_size) + 1), pages.blocks)
        cap = AdmissionCap(least, pages.blocks)
        self.swap_windows = SwapWindows(cap, adapts=settings.get("adapts", True))
        # Block 0 is vLLM's place for nothing, and in use.
        pool.free_block_queue.limit_blocks = cap.blocks - 1
        self._resident_blocks = pages.resident_blocks
        _tell(settings, pages)
        path = settings.get("vitals")
        self._swap_vitals = VitalsWriter(Path(path)) if path else None

    def update_from_output(
        self, scheduler_output: SchedulerOutput, model_runner_output: ModelRunnerOutput
    ) -> Any:
        """Moves the cap by what the step's copies cost."""
        outputs = super().update_from_output(scheduler_output, model_runner_output)
        windows = self.swap_windows
        if windows is not None and scheduler_output.total_num_scheduled_tokens:
            pool = self.kv_cache_manager.block_pool
            queue, cap = pool.free_block_queue, windows.cap
            over = windows.add(queue.used_blocks + 1, self.connector.figures)
            queue.limit_blocks = max(cap.blocks - 1, min(queue.used_blocks, queue.limit_blocks))
            if over and cap.blocks == self._resident_blocks:
                # Rows that hit them would have them copied in every step.
                pool.evict_blocks(set(range(self._resident_blocks, pool.num_gpu_blocks)))
            if self._swap_vitals is not None and self._swap_vitals.due:
                self._swap_vitals.write(self.swap_figures)
        return outputs

    def reset_prefix_cache(self, *args: Any, **kwargs: Any) -> bool:
        """As vLLM's, which takes blocks beyond the limit for blocks in use."""
        if self.swap_windows is None:
            return bool(super().reset_prefix_cache(*args, **kwargs))
        queue = self.kv_cache_manager.block_pool.free_block_queue
        limit_blocks, queue.limit_blocks = queue.limit_blocks, None
        done = super().reset_prefix_cache(*args, **kwargs)
        queue.limit_blocks = limit_blocks
        return bool(done)

    @property
    def swap_figures(self) -> dict[str, float]:
        """For the page of metrics."""
        windows, copies = self.swap_windows, self.connector.figures.copies
        if windows is None:
            return {}
        return {
            "swap_blocks": float(windows.cap.max_blocks),
            "swap_cap_blocks": float(windows.cap.blocks),
            "swap_stall_share": windows.stall_share,
            "swap_loaded_bytes": float(copies.loaded_bytes),
            "swap_stored_bytes": float(copies.stored_bytes),
        }


def _tell(settings: dict[str, Any], pages: SharedPages) -> None:
    """Says in the engine's log, and in the file that its supervisor reads, what is swapped and why."""
    from vllm.logger import init_logger

    reason = settings.get("reason", "")
    init_logger("vllm.spark_llm.swap").info(
        "Swap: layers, %d blocks, %d of them swap: %s", pages.blocks, pages.shared_blocks, reason
    )
    told = {"mode": MODE, "reason": reason, "host_bytes": settings["host_bytes"], "blocks": pages.blocks}
    leave_choice(settings.get("file"), told)
