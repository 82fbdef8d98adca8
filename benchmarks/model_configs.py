"""Configs of well-known models, cut down to what decides their KV memory, as published."""

from __future__ import annotations

from typing import Any, Final


def _kv(model: str, layers: int, heads: int, head: int, **more: Any) -> dict[str, Any]:
    return {"model_type": model, "num_hidden_layers": layers, "num_attention_heads": 32,
            "num_key_value_heads": heads, "head_dim": head, "hidden_size": 32 * head, "dtype": "bfloat16",
            **more}  # fmt: skip


CONFIGS: Final[dict[str, dict[str, Any]]] = {
    "llama-3.1-8b": _kv("llama", 32, 8, 128),
    "llama-3.2-11b-vision": {
        "model_type": "mllama",
        "text_config": _kv(
            "mllama_text_model", 40, 8, 128, cross_attention_layers=[3, 8, 13, 18, 23, 28, 33, 38]
        ),
    },
    "gemma-2-27b": _kv("gemma2", 46, 16, 128, sliding_window=4096),
    "gemma-3-4b": {"text_config": _kv("gemma3_text", 34, 4, 256, sliding_window=1024)},
    "gemma-3-12b": {"text_config": _kv("gemma3_text", 48, 8, 256, sliding_window=1024)},
    "gemma-3-27b": {"text_config": _kv("gemma3_text", 62, 16, 128, sliding_window=1024)},
    "gemma-4-like": {
        "text_config": _kv(
            "gemma4_text",
            60,
            16,
            256,
            sliding_window=1024,
            global_head_dim=512,
            num_global_key_value_heads=4,
            attention_k_eq_v=True,
        )
    },
    "gpt-oss-20b": _kv("gpt_oss", 24, 8, 64, sliding_window=128),
    "ministral-8b": _kv("mistral", 36, 8, 128, sliding_window=[None, 32768, 32768, 32768]),
    "llama-4-scout": {"text_config": _kv("llama4_text", 48, 8, 128, attention_chunk_size=8192)},
    "jamba-1.5-mini": _kv(
        "jamba",
        32,
        8,
        128,
        attn_layer_period=8,
        attn_layer_offset=4,
        mamba_d_state=16,
        mamba_d_conv=4,
        mamba_expand=2,
    ),
    "granite-4-h-tiny": _kv(
        "granitemoehybrid",
        40,
        4,
        128,
        layer_types=["attention" if at in (5, 15, 25, 35) else "mamba" for at in range(40)],
        mamba_d_state=128,
        mamba_n_heads=48,
        mamba_d_head=64,
        mamba_n_groups=1,
        mamba_d_conv=4,
    ),
    "qwen3-next-80b": _kv(
        "qwen3_next",
        48,
        2,
        256,
        linear_num_value_heads=32,
        linear_num_key_heads=16,
        linear_key_head_dim=128,
        linear_value_head_dim=128,
        linear_conv_kernel_dim=4,
        mamba_ssm_dtype="float32",
    ),
    "lfm2-1.2b": _kv("lfm2", 16, 8, 64, full_attn_idxs=[2, 5, 8, 10, 12, 14], conv_L_cache=3),
}
