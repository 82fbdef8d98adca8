import pytest
from model_configs import CONFIGS

from spark_llm.errors import SparkLLMError
from spark_llm.jenga.hf_config import from_config, layer_types
from spark_llm.jenga.specs import KVSpec, LayerType, merged, split_evenly

FULL, SLIDING, CHUNKED, STATE, CROSS = (
    LayerType.FULL, LayerType.SLIDING_WINDOW, LayerType.CHUNKED, LayerType.STATE_SPACE, LayerType.CROSS_ATTENTION,
)  # fmt: skip

EXPECTED = {
    "llama-3.1-8b": {(FULL, 32, 4096, 0)},
    "llama-3.2-11b-vision": {(FULL, 32, 4096, 0), (CROSS, 8, 4096, 0)},
    "gemma-2-27b": {(FULL, 23, 8192, 0), (SLIDING, 23, 8192, 4096)},
    "gemma-3-4b": {(FULL, 5, 4096, 0), (SLIDING, 29, 4096, 1024)},
    "gemma-3-12b": {(FULL, 8, 8192, 0), (SLIDING, 40, 8192, 1024)},
    "gemma-3-27b": {(FULL, 10, 8192, 0), (SLIDING, 52, 8192, 1024)},
    "gemma-4-like": {(FULL, 10, 8192, 0), (SLIDING, 50, 16384, 1024)},
    "gpt-oss-20b": {(FULL, 12, 2048, 0), (SLIDING, 12, 2048, 128)},
    "ministral-8b": {(FULL, 9, 4096, 0), (SLIDING, 27, 4096, 32768)},
    "llama-4-scout": {(FULL, 12, 4096, 0), (CHUNKED, 36, 4096, 8192)},
    "jamba-1.5-mini": {(FULL, 4, 4096, 0), (STATE, 28, 311296, 0)},
    "granite-4-h-tiny": {(FULL, 4, 2048, 0), (STATE, 36, 806400, 0)},
    "qwen3-next-80b": {(FULL, 12, 2048, 0), (STATE, 36, 2146304, 0)},
    "lfm2-1.2b": {(FULL, 6, 2048, 0), (STATE, 10, 8192, 0)},
}


@pytest.mark.parametrize("name", CONFIGS)
def test_well_known_models(name):
    specs = from_config(CONFIGS[name])
    assert {(spec.type, spec.layers, spec.unit_bytes, spec.window_tokens) for spec in specs} == EXPECTED[name]


PLAIN = {"model_type": "llama", "num_hidden_layers": 4, "num_attention_heads": 8, "hidden_size": 512}
MAMBA = {
    "hidden_size": 64, "mamba_d_state": 16, "mamba_n_heads": 4, "mamba_d_head": 32, "mamba_n_groups": 1,
    "mamba_d_conv": 4,
}  # fmt: skip


def test_heads_without_grouping_and_without_a_head_size():
    assert from_config(PLAIN) == (KVSpec(FULL, 4, token_bytes=2 * 8 * 64 * 2),)


@pytest.mark.parametrize(("dtype", "size"), [("float32", 4), ("torch.float16", 2), (None, 2)])
def test_the_dtype_of_the_file(dtype, size):
    assert from_config({**PLAIN, "torch_dtype": dtype})[0].token_bytes == 2 * 8 * 64 * size


def test_asked_dtypes_win():
    config = CONFIGS["qwen3-next-80b"]
    full = next(spec for spec in from_config(config, kv_dtype="fp8") if spec.type is FULL)
    state = next(spec for spec in from_config(config, state_dtype="bfloat16") if spec.type is STATE)
    assert full.token_bytes == 1024
    assert state.state_bytes == 1097728


@pytest.mark.parametrize(
    ("more", "types"),
    [
        ({"sliding_window": 64}, ["sliding_attention"] * 4),
        ({"sliding_window": 64, "use_sliding_window": False}, ["full_attention"] * 4),
        (
            {"sliding_window": 64, "use_sliding_window": True, "max_window_layers": 3},
            ["full_attention"] * 3 + ["sliding_attention"],
        ),
        ({"layer_types": ["conv", "full_attention"]}, ["conv", "full_attention"]),
        ({"hybrid_override_pattern": "M-*E"}, ["mamba", "mlp", "attention", "moe"]),
        ({"attn_layer_indices": [2]}, ["mamba", "mamba", "full_attention", "mamba"]),
        ({"model_type": "falcon_h1"}, ["hybrid"] * 4),
        ({"model_type": "mamba2"}, ["mamba"] * 4),
        ({"model_type": "qwen3_next"}, ["linear_attention"] * 3 + ["full_attention"]),
        (
            {"model_type": "gpt_oss", "sliding_window": 64},
            ["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
        ),
    ],
)
def test_layer_types_from_what_stands_for_them(more, types):
    assert layer_types({**PLAIN, **more}) == types


def test_layers_that_share_their_keys_are_not_counted():
    assert from_config({**PLAIN, "num_kv_shared_layers": 3})[0].layers == 1


def test_a_latent_is_kept_once():
    config = {**PLAIN, "kv_lora_rank": 512, "qk_rope_head_dim": 64}
    assert from_config(config)[0].token_bytes == 576 * 2


def test_a_hybrid_layer_keeps_both():
    specs = from_config({**PLAIN, **MAMBA, "model_type": "falcon_h1"})
    convolution, recurrence = (4 * 32 + 2 * 16) * 3 * 2, 4 * 32 * 16 * 2
    assert {(spec.type, spec.layers) for spec in specs} == {(FULL, 4), (STATE, 4)}
    assert next(spec.state_bytes for spec in specs if spec.type is STATE) == convolution + recurrence


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({}, "num_hidden_layers"),
        ({"num_hidden_layers": 2}, "num_attention_heads"),
        ({**PLAIN, "layer_types": ["full_attention", "new_attention"]}, "new_attention"),
        ({**PLAIN, "layer_types": ["mlp"]}, "at least one layer"),
        ({**PLAIN, "layer_types": ["mamba"]}, "mamba_d_state"),
        ({"num_hidden_layers": 1, "layer_types": ["conv"]}, "hidden_size"),
    ],
)
def test_what_is_missing_is_named(config, says):
    with pytest.raises(SparkLLMError, match="LLM_INVALID_ARGUMENT") as caught:
        from_config(config)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"type": FULL, "layers": 0, "token_bytes": 4},
        {"type": FULL, "layers": 1},
        {"type": FULL, "layers": 1, "token_bytes": 4, "window_tokens": 8},
        {"type": SLIDING, "layers": 1, "token_bytes": 4},
        {"type": STATE, "layers": 1, "token_bytes": 4},
        {"type": STATE, "layers": 1, "token_bytes": 4, "state_bytes": 4},
    ],
)
def test_sizes_that_do_not_go_with_the_type_are_refused(fields):
    with pytest.raises(ValueError, match="expected|layers|window"):
        KVSpec(**fields)


def test_equal_shapes_are_merged_and_cut_evenly():
    full, window = KVSpec(FULL, 1, token_bytes=4), KVSpec(SLIDING, 1, token_bytes=4, window_tokens=8)
    specs = merged([full, window, window, full, window, full, full])
    assert [spec.layers for spec in specs] == [4, 3]
    assert [spec.layers for spec in split_evenly(specs)] == [1] * 7
    assert [spec.layers for spec in split_evenly(merged([full] * 6 + [window] * 9))] == [3] * 5
