from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_llm.costmodel.step_time import StepTime
from spark_llm.jenga.memories import CountedBlocks, PooledPages
from spark_llm.jenga.pages import plan_pages
from spark_llm.jenga.simulate import Engine, Request
from spark_llm.jenga.specs import KVSpec, LayerType

FULL = KVSpec(LayerType.FULL, 1, token_bytes=64)
WINDOW = KVSpec(LayerType.SLIDING_WINDOW, 3, token_bytes=64, window_tokens=33)
CROSS = KVSpec(LayerType.CROSS_ATTENTION, 2, token_bytes=64)
STATE = KVSpec(LayerType.STATE_SPACE, 2, state_bytes=5000)
SECOND = StepTime(kv_s=0.0, token_s=0.0, sequence_s=0.0, base_s=1.0)
ALIKE = [(FULL, 16)]


def engine(specs, memory_bytes=0, **more):
    plan = plan_pages(specs)
    memory = PooledPages(plan, memory_bytes or 60 * plan.large_bytes, [4] * len(specs))
    return Engine(
        specs, list(zip(plan.specs, plan.block_tokens, strict=True)), memory, SECOND, **more
    ), memory


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.builds(
            Request, st.just(0), st.integers(1, 300), st.integers(0, 90), st.integers(1, 40)
        ), min_size=1, max_size=20,
    ),
    st.lists(st.sampled_from([FULL, WINDOW, CROSS, STATE]), min_size=1, max_size=4, unique=True),
    st.integers(16, 300),
)  # fmt: skip
def test_every_request_is_answered_and_every_page_comes_back(requests, specs, chunk_tokens):
    requests = [replace(request, number=at) for at, request in enumerate(requests)]
    run, memory = engine(specs, chunk_tokens=chunk_tokens)
    found = run.run(requests)
    assert all(request.made_tokens == request.answer_tokens for request in requests)
    assert memory.taken_share() == 0
    assert memory.pool.free_large_pages == memory.pool.large_pages - 1
    assert found.steps >= max(request.answer_tokens for request in requests)
    assert found.peak_running <= len(requests)


def test_windows_let_more_requests_run_than_when_all_tokens_are_kept():
    requests = [Request(at, 200, 0, 60) for at in range(20)]
    specs = [FULL, WINDOW]
    windowed, _ = engine(specs, 200_000)
    kept = Engine(
        specs, [(replace(FULL, layers=4), 16)], CountedBlocks(200_000 // 4096, [1]), SECOND, keeps_all=True
    )
    few = kept.run([replace(request) for request in requests])
    many = windowed.run(requests)
    assert many.mean_running > 1.5 * few.mean_running
    assert many.steps < few.steps


def test_a_step_decodes_one_token_of_each_running_request():
    found = Engine([FULL], ALIKE, CountedBlocks(100, [1]), SECOND).run(
        [Request(at, 10, 0, 5) for at in range(3)]
    )
    assert (found.steps, found.seconds, found.peak_running, found.preemptions) == (5, 5.0, 3, 0)


def test_a_long_prompt_comes_in_chunks():
    run = Engine([FULL], ALIKE, CountedBlocks(100, [1]), SECOND, chunk_tokens=10)
    assert run.run([Request(0, 35, 0, 2)]).steps == 5


def test_the_youngest_request_is_preempted_and_answered_later():
    requests = [Request(at, 16, 0, 40) for at in range(2)]
    found = Engine([FULL], ALIKE, CountedBlocks(5, [1]), SECOND).run(requests)
    assert found.preemptions >= 1
    assert [request.made_tokens for request in requests] == [40, 40]


def test_a_request_that_never_fits_is_refused():
    with pytest.raises(ValueError, match="900 tokens does not fit alone"):
        Engine([FULL], ALIKE, CountedBlocks(5, [1]), SECOND).run([Request(0, 900, 0, 1)])
    with pytest.raises(ValueError, match="16 tokens does not fit alone"):
        Engine([FULL], ALIKE, CountedBlocks(5, [1]), SECOND).run([Request(0, 16, 0, 200)])
