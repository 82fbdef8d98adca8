"""From a model's config.json to its `KVSpec`s, without loading or even having the model.

layer_types, or what stands for it in older files ──► a list of layer types
heads, head sizes, latent ranks                   ──► bytes per token
convolution and recurrence shapes (`hf_states`)   ──► bytes per state
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from spark_llm.errors import SparkLLMError
from spark_llm.jenga.hf_states import state_bytes
from spark_llm.jenga.specs import KVSpec, LayerType, merged

Config = Mapping[str, Any]

_TYPES: Final[dict[str, tuple[LayerType, ...]]] = {
    "full_attention": (LayerType.FULL,),
    "attention": (LayerType.FULL,),
    "sliding_attention": (LayerType.SLIDING_WINDOW,),
    "chunked_attention": (LayerType.CHUNKED,),
    "linear_attention": (LayerType.STATE_SPACE,),
    "mamba": (LayerType.STATE_SPACE,),
    "conv": (LayerType.STATE_SPACE,),
    "hybrid": (LayerType.FULL, LayerType.STATE_SPACE),
    "cross_attention": (LayerType.CROSS_ATTENTION,),
    "mlp": (),
    "moe": (),
}
_DTYPE_BYTES: Final = {"float32": 4, "bfloat16": 2, "float16": 2, "fp8": 1}
_ALTERNATING: Final = ("gemma2", "gpt_oss")
_STATE_ONLY: Final = ("mamba", "mamba2", "falcon_mamba")
_MAMBA2_PATTERN: Final = {"M": "mamba", "*": "attention", "-": "mlp", "E": "moe"}


def from_config(
    config: Config, *, kv_dtype: str | None = None, state_dtype: str | None = None
) -> tuple[KVSpec, ...]:
    """Returns what each type of layer keeps, one spec per type and shape.

    Args:
        config: the content of a config.json; the text part is found in models with several parts.
        kv_dtype: of keys and values: float32, bfloat16, float16 or fp8; None for the model's own.
        state_dtype: of recurrent states; None for what the model asks for, else the model's own.

    Raises:
        SparkLLMError: LLM_INVALID_ARGUMENT where a size is missing, or a layer type is unknown.
    """
    text: Config = next(
        (config[part] for part in ("text_config", "llm_config") if isinstance(config.get(part), Mapping)),
        config,
    )
    own = _dtype_bytes(text.get("dtype") or text.get("torch_dtype") or _of(config, "dtype", "torch_dtype"))
    kv_bytes = _DTYPE_BYTES[kv_dtype] if kv_dtype else own
    asked = state_dtype or _of(text, "mamba_ssm_cache_dtype", "mamba_ssm_dtype")
    recurrent_bytes = _dtype_bytes(asked) if asked else own
    layers = layer_types(text)
    layers = layers[: len(layers) - int(text.get("num_kv_shared_layers") or 0)]
    found = []
    for name in layers:
        if name not in _TYPES:
            raise _bad("layer_types", name, "one of " + ", ".join(_TYPES))
        for kind in _TYPES[name]:
            if kind is LayerType.STATE_SPACE:
                found.append(KVSpec(kind, 1, state_bytes=state_bytes(text, name, own, recurrent_bytes)))
                continue
            size = _token_values(text, kind) * kv_bytes
            found.append(KVSpec(kind, 1, token_bytes=size, window_tokens=_window(text, kind)))
    if not found:
        raise _bad("layer_types", "(none)", "at least one layer that keeps keys and values, or a state")
    return merged(found)


def layer_types(text: Config) -> list[str]:
    """Returns one name per layer, as in transformers, from whatever the file says about it."""
    explicit = _of(text, "layer_types", "layers_block_type", "hybrid_override_pattern")
    if isinstance(explicit, str):
        return [_MAMBA2_PATTERN.get(letter, letter) for letter in explicit]
    count = int(_size(text, "num_hidden_layers", "n_layer", "num_layers"))
    model = str(text.get("model_type", "")).removesuffix("_text").removesuffix("_text_model")
    places = range(count)
    if explicit:
        return list(explicit)
    if "cross_attention_layers" in text:
        cross = set(text["cross_attention_layers"] or ())
        return ["cross_attention" if at in cross else "full_attention" for at in places]
    if "attn_layer_period" in text:
        period, offset = int(text["attn_layer_period"]), int(text["attn_layer_offset"])
        return ["attention" if at % period == offset else "mamba" for at in places]
    if "full_attention_interval" in text or model == "qwen3_next":
        every = int(text.get("full_attention_interval", 4))
        return ["linear_attention" if (at + 1) % every else "full_attention" for at in places]
    for key, other in (("full_attn_idxs", "conv"), ("attn_layer_indices", "mamba")):
        if text.get(key) is not None:
            return ["full_attention" if at in text[key] else other for at in places]
    if model == "falcon_h1":
        return ["hybrid"] * count
    if model in _STATE_ONLY:
        return ["mamba"] * count
    return _attention_types(text, model, count)


def _attention_types(text: Config, model: str, count: int) -> list[str]:
    places = range(count)
    if text.get("attention_chunk_size") and model.startswith("llama4"):
        every = int(text.get("no_rope_layer_interval", 4))
        local = text.get("no_rope_layers") or [int((at + 1) % every != 0) for at in places]
        return ["chunked_attention" if here else "full_attention" for here in local]
    window = text.get("sliding_window")
    if not window or text.get("use_sliding_window") is False:
        return ["full_attention"] * count
    if isinstance(window, list):
        return ["sliding_attention" if window[at % len(window)] else "full_attention" for at in places]
    usual = 2 if model in _ALTERNATING else 6 if model.startswith(("gemma3", "gemma4")) else 0
    pattern = int(_of(text, "sliding_window_pattern", "_sliding_window_pattern") or usual)
    if pattern:
        return ["sliding_attention" if (at + 1) % pattern else "full_attention" for at in places]
    first = int(text.get("max_window_layers", 0)) if text.get("use_sliding_window") else 0
    return ["sliding_attention" if at >= first else "full_attention" for at in places]


def _token_values(text: Config, kind: LayerType) -> int:
    """Numbers that one layer keeps per token: keys and values of all heads, or a latent."""
    if text.get("kv_lora_rank"):
        return int(text["kv_lora_rank"]) + int(text.get("qk_rope_head_dim") or 0)
    heads = _of(text, "num_key_value_heads", "n_head_kv") or _size(text, "num_attention_heads", "n_head")
    size = text.get("head_dim") or _size(text, "hidden_size", "n_embd") // _size(
        text, "num_attention_heads", "n_head"
    )
    if kind is LayerType.FULL and str(text.get("model_type", "")).startswith("gemma4"):
        size = text.get("global_head_dim") or 512
        if text.get("attention_k_eq_v"):
            heads = text.get("num_global_key_value_heads") or heads
    return 2 * int(heads) * int(size)


def _window(text: Config, kind: LayerType) -> int:
    if kind is LayerType.CHUNKED:
        return int(_size(text, "attention_chunk_size"))
    if kind is not LayerType.SLIDING_WINDOW:
        return 0
    window = _size(text, "sliding_window")
    return int(max(size or 0 for size in window)) if isinstance(window, list) else int(window)


def _of(config: Config, *keys: str) -> Any:
    return next((config[key] for key in keys if config.get(key) is not None), None)


def _size(config: Config, *keys: str) -> Any:
    found = _of(config, *keys)
    if found is None:
        raise _bad(keys[0], "(missing)", "the config.json of a language model")
    return found


def _dtype_bytes(name: Any) -> int:
    return _DTYPE_BYTES.get(str(name).removeprefix("torch."), 2)


def _bad(key: str, value: object, expected: str) -> SparkLLMError:
    return SparkLLMError(
        "LLM_INVALID_ARGUMENT", argument=f"model config {key}", value=value, expected=expected
    )
