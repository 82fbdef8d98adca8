"""What the block tier needs of vLLM's scheduler: the rows that wait, whose prefixes are kept longest.

    add_request     row waits ─► WaitingUses.add
    schedule        row starts ─► WaitingUses.drop
    _free_request   row ended or was taken back ─► WaitingUses.drop

Where the scheduler has the planner's own counts, `uses`, those are taken instead.
Inert unless `additional_config` has our part and the connector is `TierConnector`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spark_llm.engine.vitals import leave_choice
from spark_llm.pie.uses import WaitingUses
from spark_llm.smartspec.vllm_plugin import settings_of

if TYPE_CHECKING:
    from vllm.v1.core.sched.output import SchedulerOutput
    from vllm.v1.core.sched.scheduler import Scheduler
    from vllm.v1.request import Request

else:
    Scheduler = object


class TierMixin(Scheduler):
    """Goes before `vllm.v1.core.sched.scheduler.Scheduler`, and before a mixin that sets `uses`."""

    _waiting: WaitingUses | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        settings = settings_of(self.vllm_config, "swap")
        if settings is None or settings["mode"] not in {"blocks", "off"}:
            return
        if settings["mode"] == "off":
            _tell(settings, 0)
            return
        from spark_llm.pie.vllm_tier import TierConnector
        from spark_llm.pie.vllm_tier_uses import RemainingUsesPolicy

        if not isinstance(self.connector, TierConnector):
            return
        manager = self.connector.manager
        if isinstance(manager.policy, RemainingUsesPolicy):
            if (planned := getattr(self, "uses", None)) is not None:
                manager.policy.uses = planned
            else:
                manager.policy.uses = self._waiting = WaitingUses()
        _tell(settings, manager.policy.cache_capacity)

    def add_request(self, request: Request) -> None:
        """As vLLM's."""
        super().add_request(request)
        if self._waiting is not None:
            self._waiting.add(request.request_id, request.block_hashes)

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
        """As vLLM's."""
        output = super().schedule(throttle_prefills)
        if self._waiting is not None:
            for started in output.scheduled_new_reqs:
                self._waiting.drop(started.req_id)
        return output

    def _free_request(self, request: Request, delay_free_blocks: bool = False) -> Any:
        if self._waiting is not None:
            self._waiting.drop(request.request_id)
        return super()._free_request(request, delay_free_blocks)


def _tell(settings: dict[str, Any], chunks: int) -> None:
    """Says in the engine's log, and in the file that its supervisor reads, what is swapped and why."""
    from vllm.logger import init_logger

    mode, host_bytes, reason = settings["mode"], settings["host_bytes"], settings.get("reason", "")
    init_logger("vllm.spark_llm.swap").info(
        "Swap: %s, %d blocks in %d bytes: %s", mode, chunks, host_bytes, reason
    )
    told = {"mode": mode, "reason": reason, "host_bytes": host_bytes, "blocks": chunks}
    leave_choice(settings.get("file"), told)
