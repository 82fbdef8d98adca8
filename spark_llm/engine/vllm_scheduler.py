"""The scheduler of an executor's engine: vLLM's own, with our techniques mixed in.

    --scheduler-cls spark_llm.engine.vllm_scheduler.SparkScheduler        CPU; GPU without async scheduling
                                                   .SparkAsyncScheduler   GPU
    --additional-config {"spark_llm": {"speculative": {…}, "memory": {…}, "swap": {…}}}
                                                                 each mixin reads its own part

A mixin without its part does nothing, so one class serves every combination. vLLM calls the scheduler
interface internal: what is used of it is held by tests/vllm_contract.
"""

from __future__ import annotations

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler

from spark_llm.jenga.vllm_junctions import JunctionMixin
from spark_llm.jenga.vllm_plugin import JengaMixin
from spark_llm.jenga.vllm_uses import UsesMixin
from spark_llm.pie.vllm_admission import AdmissionMixin
from spark_llm.pie.vllm_tier_scheduler import TierMixin
from spark_llm.smartspec.vllm_plugin import AsyncSpeculationMixin, SpeculationMixin


class SparkScheduler(
    SpeculationMixin, TierMixin, JunctionMixin, UsesMixin, JengaMixin, AdmissionMixin, Scheduler
):
    """For engines that schedule a step after the one before has ended."""


class SparkAsyncScheduler(
    AsyncSpeculationMixin, TierMixin, JunctionMixin, UsesMixin, JengaMixin, AdmissionMixin, AsyncScheduler
):
    """For engines that schedule a step while the one before still runs."""
