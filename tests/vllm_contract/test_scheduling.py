"""What prefix groups rely on in vLLM's scheduler: their order, their sharing, and what is preempted."""

from __future__ import annotations

import inspect

import pytest

pytest.importorskip("vllm")
pytestmark = pytest.mark.vllm


def test_the_plugin_finds_the_scheduling_policy():
    from vllm.config import SchedulerConfig
    from vllm.engine.protocol import EngineClient

    assert "vllm_config" in inspect.get_annotations(EngineClient)
    assert SchedulerConfig.policy == "fcfs"
    assert "priority" in str(SchedulerConfig.__dataclass_fields__["policy"].type)


def test_a_lower_priority_is_served_first_and_ties_by_arrival():
    from vllm.v1.core.sched.request_queue import PriorityRequestQueue
    from vllm.v1.request import Request

    def request(name, priority, arrival):
        one = Request.__new__(Request)
        one.request_id, one.priority, one.arrival_time = name, priority, arrival
        return one

    queue = PriorityRequestQueue()
    asked = [("late", 7, 1.0), ("tie2", 5, 3.0), ("tie1", 5, 2.0), ("long", 2**62, 0.0), ("first", 1, 9.0)]
    for each in asked:
        queue.add_request(request(*each))
    served = [queue.pop_request().request_id for _ in asked]
    assert served == ["first", "tie1", "tie2", "late", "long"]


def test_a_priority_may_have_63_bits():
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

    messages = [{"role": "user", "content": "q"}]
    asked = ChatCompletionRequest.model_validate({"messages": messages, "priority": 2**63 - 1})
    assert asked.priority == 2**63 - 1


def test_what_waits_never_preempts_what_runs():
    """Only a running request that needs a block preempts, and the latest group goes first."""
    from vllm.v1.core.sched.scheduler import Scheduler

    source = inspect.getsource(Scheduler.schedule)
    running, waiting = source.split("# Next, schedule the WAITING requests.")
    assert "_preempt_request(" in running
    assert "key=lambda r: (r.priority, r.arrival_time)" in running
    assert "_preempt_request(" not in waiting
    # And nothing new is admitted in a step that had to preempt.
    assert waiting.lstrip().startswith("if not preempted_reqs")


def test_a_block_is_registered_when_it_is_allocated():
    """Requests of one step share: allocate_slots registers the blocks of a prompt before it is computed."""
    from vllm.v1.core.kv_cache_manager import KVCacheManager

    source = inspect.getsource(KVCacheManager.allocate_slots)
    assert "self.coordinator.cache_blocks(request, num_tokens_to_cache)" in source
