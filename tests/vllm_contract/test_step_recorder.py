"""What the recorder of steps takes from vLLM's statistics."""

from __future__ import annotations

import inspect
from dataclasses import fields

import pytest

pytest.importorskip("vllm")
pytestmark = pytest.mark.vllm


def test_names_of_the_statistics():
    from vllm.v1.metrics.stats import (
        IterationStats,
        RequestStateStats,
        SchedulerIterationDetails,
        SchedulerStats,
    )

    names = {field.name for field in fields(SchedulerIterationDetails)}
    counted = {f"num_{kind}_{what}" for kind in ("ctx", "generation") for what in ("requests", "tokens")}
    assert names >= {*counted, "elapsed_ms", "is_dummy"}
    assert SchedulerStats().iteration_details is None
    seen = IterationStats()
    assert (seen.prompt_token_stats.cached_tokens, seen.inter_token_latencies_iter) == (0, [])
    assert RequestStateStats().num_generation_tokens == 0


def test_names_of_a_request_s_state():
    from vllm.v1.engine.output_processor import OutputProcessor, RequestState

    made = inspect.getsource(RequestState.__init__)
    assert all(f"self.{name} = " in made for name in ("prompt_len", "is_prefilling", "stats"))
    assert "self.request_states" in inspect.getsource(OutputProcessor.__init__)


def test_an_engine_tells_its_steps_where_it_is_asked_to():
    from vllm.config import ObservabilityConfig
    from vllm.engine.arg_utils import EngineArgs

    assert ObservabilityConfig().enable_logging_iteration_details is False
    assert EngineArgs.enable_logging_iteration_details is False
