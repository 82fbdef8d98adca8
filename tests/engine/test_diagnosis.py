from __future__ import annotations

import pytest

from spark_llm.engine.diagnosis import diagnose, wants_too_much

CORE = "(EngineCore pid=12) ERROR 11-24 10:25:39 [core.py:1510] "
FRONT = "  File frame\n" * 40 + "RuntimeError: Engine core initialization failed. See root cause above.\n"
CPU = (
    "ValueError: Available memory on node 0 (17.61/23.54 GiB) on kv cache allocation is less than requested "
    "memory for kv (8192.0 GiB). Decrease --kv-cache-memory-bytes."
)


@pytest.mark.parametrize(
    ("said", "more"),
    [
        (CPU, True),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", True),
        (
            "ValueError: Free memory on device cuda:0 (3/80 GiB) is less than desired GPU memory utilization",
            True,
        ),
        ("RuntimeError: [enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory", True),
        (
            "ValueError: No available memory for the cache blocks. Try increasing gpu_memory_utilization",
            False,
        ),
        ("ValueError: 4 GiB KV cache is needed, which is larger than the available KV cache memory", False),
    ],
)
def test_memory_is_found_above_the_front_ends_traceback(said, more):
    log = f"{CORE}{said}\n{FRONT}"
    error = diagnose("exited", 1, 600, log, "/x/engine.log")
    assert error.condition == "LLM_OUT_OF_DEVICE_MEMORY"
    assert said.split(": ", 1)[1][:40] in error.message
    assert "EngineCore" not in error.message
    assert wants_too_much(log) is more


def test_what_the_core_raised_comes_first():
    log = f"{CORE}KeyError: 'lm_head'\n{FRONT}"
    error = diagnose("exited", 1, 600, log, "/x/engine.log")
    assert error.condition == "LLM_ENGINE_FAILED"
    assert "KeyError: 'lm_head'" in error.message
    assert len(error.message.splitlines()) < 30


@pytest.mark.parametrize("outcome", ["stalled", "hung", "late"])
def test_each_end_has_its_words(outcome):
    texts = {one: diagnose(one, None, 60, "", "/x").message for one in ("stalled", "hung", "late", "exited")}
    assert list(texts.values()).count(texts[outcome]) == 1
