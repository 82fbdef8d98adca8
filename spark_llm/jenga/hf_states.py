"""Bytes of the recurrent state of one layer, from the shapes in a config.json.

    short convolution   (kernel - 1) × channels
    Mamba 1             convolution, then channels × state size
    Mamba 2             convolution over channels and groups, then heads × head size × state size
    gated delta net     convolution over keys and values, then value heads × value size × key size

Source: `MambaStateShapeCalculator` of vLLM, one device.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spark_llm.errors import SparkLLMError


def state_bytes(config: Mapping[str, Any], layer: str, value_bytes: int, recurrent_bytes: int) -> int:
    """Returns the bytes of one state of one layer.

    Args:
        config: the text part of a config.json.
        layer: the layer's name in it, such as ``conv``.
        value_bytes: bytes of a number of the convolution's state.
        recurrent_bytes: bytes of a number of the recurrent state.

    Raises:
        SparkLLMError: LLM_INVALID_ARGUMENT where the shapes are missing.
    """
    if layer == "conv":
        channels = config.get("conv_dim") or config.get("hidden_size")
        if not channels:
            raise _missing("hidden_size")
        return int(channels) * (int(config.get("conv_L_cache", 3)) - 1) * value_bytes
    if "linear_num_value_heads" in config:
        key, value = int(config["linear_key_head_dim"]), int(config["linear_value_head_dim"])
        key_heads, value_heads = int(config["linear_num_key_heads"]), int(config["linear_num_value_heads"])
        kernel = int(config.get("linear_conv_kernel_dim", 4))
        convolution = (2 * key_heads * key + value_heads * value) * (kernel - 1)
        return convolution * value_bytes + value_heads * value * key * recurrent_bytes
    return _mamba(config, value_bytes, recurrent_bytes)


def _mamba(config: Mapping[str, Any], value_bytes: int, recurrent_bytes: int) -> int:
    def of(*keys: str) -> int | None:
        return next((int(config[key]) for key in keys if isinstance(config.get(key), int)), None)

    size, kernel = of("mamba_d_state", "ssm_state_size", "state_size"), of("mamba_d_conv", "conv_kernel")
    heads, hidden = of("mamba_n_heads", "mamba_num_heads", "num_heads"), of("hidden_size")
    if size is None or hidden is None:
        raise _missing("mamba_d_state")
    head = of("mamba_d_head", "mamba_head_dim", "head_dim") if heads else None
    channels = (
        heads * head
        if heads and head
        else of("mamba_d_ssm", "intermediate_size_ssm") or (of("mamba_expand", "expand") or 2) * hidden
    )
    groups = (of("mamba_n_groups", "n_groups") or 1) if heads else 0
    convolution = (channels + 2 * groups * size) * ((kernel or 4) - 1)
    return convolution * value_bytes + channels * size * recurrent_bytes


def _missing(key: str) -> SparkLLMError:
    return SparkLLMError(
        "LLM_INVALID_ARGUMENT", argument=f"model config {key}", value="(missing)",
        expected="the shapes of its recurrent layers",
    )  # fmt: skip
