"""The simulated engine schedules what vLLM's own scheduler does, step by step; no model runs."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from spark_llm.costmodel.presets import H100_8B
from spark_llm.costmodel.simulate.acceptance import Acceptance
from spark_llm.costmodel.simulate.engine import Limits, Simulation
from spark_llm.costmodel.simulate.workload import Workload, grouped
from spark_llm.smartspec.static import Static

pytest.importorskip("vllm")
pytestmark = pytest.mark.vllm

MODEL = Path(__file__).parents[2] / "spark_llm" / "demo" / "model"
BLOCK_TOKENS = 16


class Scheduled(NamedTuple):
    """A step: what was read, computed, and by how many rows."""

    kv_tokens: int
    tokens: int
    sequences: int


def simulated(workload: Workload, limits: Limits, k: int, alpha: float) -> tuple[list[Scheduled], int]:
    """Steps and preemptions of the simulated engine."""
    acceptance = Acceptance(np.full(len(workload.own_tokens), alpha), max(k, 1))
    simulation = Simulation(workload, limits, H100_8B, acceptance, trace=True)
    result = simulation.run(Static(k))
    return [
        Scheduled(step.kv_tokens, step.tokens, step.sequences) for step in result.trace
    ], result.preemptions


def scheduled(workload: Workload, limits: Limits, k: int, alpha: float) -> tuple[list[Scheduled], int]:
    """Steps and preemptions of vLLM's scheduler, for a model whose drafts are all right or all wrong."""
    from vllm import SamplingParams
    from vllm.v1.outputs import ModelRunnerOutput
    from vllm.v1.request import Request

    scheduler, hasher = make_scheduler(limits)
    rng = np.random.default_rng(0)
    prefixes = [rng.integers(10, 2000, count).tolist() for count in workload.node_tokens]
    paths = workload.paths()
    for row, own_tokens in enumerate(workload.own_tokens.tolist()):
        node = int(workload.nodes[row]) if len(workload.nodes) else -1
        prompt = [token for step in (paths[node] if node >= 0 else ()) for token in prefixes[step]]
        prompt += rng.integers(10, 2000, own_tokens).tolist()
        sampling = SamplingParams(max_tokens=int(workload.output_tokens[row]), ignore_eos=True)
        scheduler.add_request(
            Request(str(row), prompt, sampling, None, arrival_time=float(row), block_hasher=hasher)
        )
    steps: list[Scheduled] = []
    preempted = 0
    while scheduler.has_unfinished_requests():
        for request in scheduler.running:
            if request.num_output_tokens and request.num_tokens - request.num_computed_tokens == 1:
                request.spec_token_ids = [7] * k
        output = scheduler.schedule()
        computed = [new.num_computed_tokens for new in output.scheduled_new_reqs]
        computed += output.scheduled_cached_reqs.num_computed_tokens
        steps.append(Scheduled(sum(computed), output.total_num_scheduled_tokens, len(computed)))
        preempted += len(output.preempted_req_ids or ())
        names = list(output.num_scheduled_tokens)
        sampled = []
        for name in names:
            request = scheduler.requests[name]
            accepted = len(output.scheduled_spec_decode_tokens.get(name, ())) if alpha == 1 else 0
            ended = request.num_computed_tokens >= request.num_tokens
            sampled.append([int(token) for token in rng.integers(10, 2000, 1 + accepted)] if ended else [])
        places = {name: place for place, name in enumerate(names)}
        scheduler.update_from_output(output, ModelRunnerOutput(names, places, sampled))
    return steps, preempted


def make_scheduler(limits: Limits):
    """VLLM's scheduler for the demo model's configuration, and the hasher of its requests."""
    import torch
    from vllm.engine.arg_utils import EngineArgs
    from vllm.utils.hashing import sha256
    from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
    from vllm.v1.core.sched.scheduler import Scheduler
    from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
    from vllm.v1.structured_output import StructuredOutputManager

    config = EngineArgs(
        model=str(MODEL), max_model_len=2048, max_num_seqs=limits.max_sequences, block_size=BLOCK_TOKENS,
        max_num_batched_tokens=max(limits.chunk_tokens, limits.max_sequences), enforce_eager=True,
        enable_prefix_caching=True,
    ).create_engine_config()  # fmt: skip
    blocks = limits.kv_blocks + 1  # one is the null block
    config.cache_config.num_gpu_blocks = blocks
    spec = FullAttentionSpec(block_size=BLOCK_TOKENS, num_kv_heads=1, head_size=8, dtype=torch.float32)
    scheduler = Scheduler(
        vllm_config=config,
        kv_cache_config=KVCacheConfig(blocks, [], [KVCacheGroupSpec(["layer"], spec)]),
        structured_output_manager=StructuredOutputManager(config),
        block_size=BLOCK_TOKENS,
    )
    init_none_hash(sha256)
    return scheduler, get_request_block_hasher(BLOCK_TOKENS, sha256)


def trie(seed: int, rows: int) -> Workload:
    """Rows under nested prefixes, in random order, so that blocks are evicted and come back."""
    rng = np.random.default_rng(seed)
    return Workload(
        rng.integers(1, 90, rows),
        rng.integers(1, 50, rows),
        nodes=rng.integers(-1, 7, rows),
        parents=np.array([-1, 0, 0, 1, -1, 4, 4]),
        node_tokens=rng.integers(1, 120, 7),
    )


CASES = {
    "no prefix": (grouped(30, 1, prefix_tokens=0, own_tokens=90, output_tokens=20), Limits(8, 256), 0, 0.0),
    "one prefix": (grouped(30, 2, prefix_tokens=200, own_tokens=30, output_tokens=9), Limits(6, 128), 0, 0.0),
    "a trie": (trie(3, 40), Limits(8, 200), 0, 0.0),
    "a trie, evicted": (trie(4, 60), Limits(4, 200, kv_blocks=40), 0, 0.0),
    "drafts all right": (trie(5, 30), Limits(8, 100), 3, 1.0),
    "drafts all wrong": (trie(6, 30), Limits(8, 100), 3, 0.0),
    "preempted": (
        grouped(20, 7, prefix_tokens=0, own_tokens=60, output_tokens=80), Limits(8, 256, kv_blocks=40), 0, 0.0,
    ),
    "preempted with drafts": (
        grouped(20, 8, prefix_tokens=70, own_tokens=40, output_tokens=80), Limits(8, 256, kv_blocks=40), 2, 0.0,
    ),
    "preempted with drafts all right": (trie(10, 41), Limits(11, 102, kv_blocks=33), 3, 1.0),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_steps_are_those_of_vllm(name: str) -> None:
    if not (MODEL / "config.json").exists():
        pytest.skip("the demo model is not built")
    workload, limits, k, alpha = CASES[name]
    limits = Limits(limits.max_sequences, limits.chunk_tokens, min(limits.kv_blocks, 4000), BLOCK_TOKENS)
    ours, preempted = simulated(workload, limits, k, alpha)
    theirs, preempted_there = scheduled(workload, limits, k, alpha)
    assert ours == theirs
    assert preempted == preempted_there
    assert preempted or not name.startswith("preempted")
