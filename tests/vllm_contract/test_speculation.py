"""What our scheduler and proposer rely on in vLLM: names, signatures, and the order of an engine's step."""

from __future__ import annotations

import inspect

import pytest

pytest.importorskip("vllm")
pytestmark = pytest.mark.vllm


def parameters(function):
    return list(inspect.signature(function).parameters)


def test_the_methods_that_are_overridden():
    from vllm.v1.core.sched.scheduler import Scheduler

    from spark_llm.engine.vllm_scheduler import SparkScheduler

    for name in ("schedule", "update_from_output", "update_draft_token_ids", "_free_request"):
        assert parameters(getattr(Scheduler, name)) == parameters(getattr(SparkScheduler, name)), name
    # Both ways in which a request ends come by.
    freed = [
        inspect.getsource(getattr(Scheduler, name)) for name in ("update_from_output", "finish_requests")
    ]
    assert all("self._free_request(" in source for source in freed)


def test_drafts_are_read_from_the_request_when_a_step_is_scheduled():
    from vllm.v1.core.sched.scheduler import Scheduler
    from vllm.v1.request import Request

    source = inspect.getsource(Scheduler.schedule)
    assert "request.num_tokens_with_spec" in source
    assert "scheduled_spec_decode_tokens[request.request_id] = spec_token_ids" in source
    assert "request.spec_token_ids = []" in source
    assert "num_spec_tokens_to_schedule = self.dynamic_sd_lookup[" in source
    # With a lookup of ours, vLLM pads no decodes.
    assert "(self.num_spec_tokens > 0 and self.dynamic_sd_lookup is None)" in source
    made = inspect.getsource(Request.__init__)
    for name in (
        "spec_token_ids",
        "num_computed_tokens",
        "max_tokens",
        "num_prompt_tokens",
        "is_prefill_chunk",
    ):
        assert f"self.{name}" in made, name
    for name in ("num_tokens", "use_structured_output"):
        assert isinstance(getattr(Request, name), property)


def test_what_is_read_of_a_scheduler():
    from vllm.v1.core.block_pool import BlockPool
    from vllm.v1.core.kv_cache_manager import KVCacheManager
    from vllm.v1.core.sched.scheduler import Scheduler

    made = inspect.getsource(Scheduler.__init__)
    for name in ("num_spec_tokens", "max_num_running_reqs", "max_num_scheduled_tokens", "max_model_len"):
        assert f"self.{name} = " in made or f"self.{name}: " in made, name
    assert "self.kv_cache_manager = KVCacheManager(" in made
    assert "self.block_pool = " in inspect.getsource(KVCacheManager.__init__)
    assert parameters(BlockPool.get_num_free_blocks) == ["self"]


def test_a_grammar_is_asked_and_drafts_are_held_against_it():
    from vllm.v1.structured_output import StructuredOutputManager
    from vllm.v1.structured_output.request import StructuredOutputRequest

    assert parameters(StructuredOutputManager.validate_tokens) == ["self", "request", "spec_tokens"]
    assert "reasoning_ended" in StructuredOutputRequest.__dataclass_fields__
    assert isinstance(StructuredOutputRequest.grammar, property)


def test_the_proposer_is_what_vllm_loads():
    from vllm.v1.spec_decode import custom_class_proposer
    from vllm.v1.worker.gpu_model_runner import GPUModelRunner

    from spark_llm.engine.vllm_args import LOOK_UP_PROPOSER
    from spark_llm.smartspec.vllm_plugin import LookUpProposer

    assert f"{LookUpProposer.__module__}.{LookUpProposer.__name__}" == LOOK_UP_PROPOSER
    assert "user_class(vllm_config)" in inspect.getsource(custom_class_proposer.create_custom_proposer)
    source = inspect.getsource(GPUModelRunner.propose_draft_token_ids)
    called = source.split('"custom_class"', 1)[1].split("elif", 1)[0].split(".propose(", 1)[1]
    assert [word.strip(" ,)\n").split(".")[-1] for word in called.split("\n")[1:5]] == [
        "sampled_token_ids", "num_tokens_no_spec", "token_ids_cpu", "slot_mappings=slot_mappings",
    ]  # fmt: skip
    assert parameters(LookUpProposer.propose)[1:] == [
        "sampled_token_ids", "num_tokens_no_spec", "token_ids_cpu", "slot_mappings",
    ]  # fmt: skip


def test_ahead_of_time_drafts_come_as_placeholders():
    from vllm.v1.core.sched.async_scheduler import AsyncScheduler

    source = inspect.getsource(AsyncScheduler._update_after_schedule)
    assert "scheduler_output.num_spec_tokens_to_schedule" in source


def test_arguments_reach_the_scheduler():
    from vllm.v1.core.sched.scheduler import Scheduler

    assert {"vllm_config", "kv_cache_config", "structured_output_manager"} <= set(
        parameters(Scheduler.__init__)
    )
    from vllm.config import VllmConfig

    assert "additional_config" in VllmConfig.__dataclass_fields__
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

    assert "vllm_xargs" in ChatCompletionRequest.model_fields
