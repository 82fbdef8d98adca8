"""vLLM's own grouping of layers against `spark_llm.jenga.grouped`, which reports predict it with."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("vllm")
pytestmark = pytest.mark.vllm

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from model_configs import CONFIGS  # noqa: E402

from spark_llm.jenga.grouped import grouped_layout  # noqa: E402
from spark_llm.jenga.hf_config import from_config  # noqa: E402
from spark_llm.jenga.specs import LayerType  # noqa: E402

# No layers of this kind, or none that vLLM groups this way.
GROUPED = sorted(set(CONFIGS) - {"llama-3.1-8b", "llama-3.2-11b-vision"})


def vllm_spec(spec, block_tokens, page_bytes):
    import torch
    from vllm.v1 import kv_cache_interface as kv

    if spec.type is LayerType.STATE_SPACE:
        return kv.MambaSpec(
            block_size=block_tokens, shapes=((spec.state_bytes // 2,),), dtypes=(torch.bfloat16,),
            page_size_padded=page_bytes, mamba_cache_mode="align",
        )  # fmt: skip
    heads = {"num_kv_heads": 1, "head_size": spec.token_bytes // 4, "dtype": torch.bfloat16}
    if spec.type is LayerType.SLIDING_WINDOW:
        return kv.SlidingWindowSpec(block_size=block_tokens, sliding_window=spec.window_tokens, **heads)
    if spec.type is LayerType.CHUNKED:
        return kv.ChunkedLocalAttentionSpec(
            block_size=block_tokens, attention_chunk_size=spec.window_tokens, **heads
        )
    return kv.FullAttentionSpec(block_size=block_tokens, **heads)


@pytest.mark.parametrize("block_tokens", [16, 128])
@pytest.mark.parametrize("model", GROUPED)
def test_groups_blocks_and_bytes_are_vllms(model, block_tokens):
    from vllm.v1.core import kv_cache_utils
    from vllm.v1.kv_cache_layout import KVCacheLayout

    specs = from_config(CONFIGS[model])
    ours = grouped_layout(specs, block_tokens)
    has_state = any(spec.type is LayerType.STATE_SPACE for spec in specs)
    # The platform raises the attention block to a state before layers are grouped; ours does both.
    block = max(ours.block_tokens) if has_state else block_tokens
    layers = {
        f"{spec.type}.{at}": vllm_spec(spec, block, ours.page_bytes)
        for spec in specs
        for at in range(spec.layers)
    }
    layout = KVCacheLayout.LBHNC
    config = SimpleNamespace(
        scheduler_config=SimpleNamespace(disable_hybrid_kv_cache_manager=False),
        attention_config=SimpleNamespace(hisparse_config=None),
        cache_config=SimpleNamespace(
            get_resolved_kv_cache_layout=lambda: layout, num_gpu_blocks_override=None,
            prefix_cache_retention_interval=0,
        ),
        speculative_config=None,
        model_config=None,
    )  # fmt: skip
    groups = kv_cache_utils.get_kv_cache_groups(config, layers)
    theirs = {}
    for group in groups:
        kind = group.layer_names[0].split(".")[0]
        count, _ = theirs.get(kind, (0, 0))
        theirs[kind] = (count + 1, group.kv_cache_spec.block_size)
    assert theirs == {
        str(spec.type): (count, tokens)
        for spec, count, tokens in zip(specs, ours.groups, ours.block_tokens, strict=True)
    }
    assert kv_cache_utils._get_kv_cache_bytes_per_block(groups, layout) == ours.block_bytes
