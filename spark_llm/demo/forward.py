"""The Qwen3 forward pass in plain PyTorch, laid out for training on a CPU.

It computes what ``transformers`` computes (a test holds them together), but keeps the
residual stream in float32, multiplies in bfloat16 without a cast per layer, and runs
the tokens that all rows share only once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from transformers import Qwen3ForCausalLM

HEAD: Final = 64
_EPSILON: Final = 1e-6
_THETA: Final = 10_000.0

Past = list[tuple[Tensor, Tensor]]
"""Keys and values of each layer, ``[rows, heads, tokens, HEAD]``."""


def _norm(x: Tensor, weight: Tensor) -> Tensor:
    """RMS norm over the last axis, computed in float32, returned in bfloat16."""
    wide = x.float()
    scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + _EPSILON)
    return (wide * scale * weight).bfloat16()


def _rotate(x: Tensor, start: int) -> Tensor:
    """Rotary position embedding of ``[rows, heads, tokens, HEAD]`` from ``start`` on."""
    inverse = _THETA ** -(torch.arange(0, HEAD, 2) / HEAD)
    angles = torch.outer(torch.arange(start, start + x.shape[2]), inverse)
    cosine, sine = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    left, right = x.chunk(2, -1)
    return torch.cat((left * cosine - right * sine, right * cosine + left * sine), -1)


def body(model: Qwen3ForCausalLM, tokens: Tensor, past: Past | None) -> tuple[Tensor, Past]:
    """Run the layers over a batch.

    Args:
        model: Holds the float32 weights; nothing else of it is used.
        tokens: ``[rows, tokens]`` int64, padded on the right (causal attention never
            looks at the padding, so no mask is needed for it).
        past: Keys and values of ``p`` earlier tokens of one row, which all rows share.

    Returns:
        ``[rows, tokens, hidden]`` bfloat16 after the last norm, and the new keys and
        values.
    """
    rows, length = tokens.shape
    start = 0 if past is None else past[0][0].shape[2]
    mask = torch.full((length, start + length), float("-inf")).triu(start + 1)
    x = functional.embedding(tokens, model.model.embed_tokens.weight)
    new: Past = []
    for index, layer in enumerate(model.model.layers):
        attention, mlp = layer.self_attn, layer.mlp
        h = _norm(x, layer.input_layernorm.weight)
        query, key, value = (
            functional.linear(h, part.weight.bfloat16()).view(rows, length, -1, HEAD)
            for part in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        query = _rotate(_norm(query, attention.q_norm.weight).transpose(1, 2), start)
        key = _rotate(_norm(key, attention.k_norm.weight).transpose(1, 2), start)
        value = value.transpose(1, 2)
        new.append((key, value))
        if past is not None:
            # The gradient of the shared tokens sums over the rows that look at them.
            key = torch.cat((past[index][0].expand(rows, -1, -1, -1), key), 2)
            value = torch.cat((past[index][1].expand(rows, -1, -1, -1), value), 2)
        # Written out: for rows this short it is faster than the fused kernel's backward pass.
        scores = (query @ key.transpose(2, 3)).float() * HEAD**-0.5 + mask
        mixed = scores.softmax(-1).bfloat16() @ value
        mixed = mixed.transpose(1, 2).reshape(rows, length, -1)
        x = x + functional.linear(mixed, attention.o_proj.weight.bfloat16())
        h = _norm(x, layer.post_attention_layernorm.weight)
        gate = functional.silu(functional.linear(h, mlp.gate_proj.weight.bfloat16()))
        up = functional.linear(h, mlp.up_proj.weight.bfloat16())
        x = x + functional.linear(gate * up, mlp.down_proj.weight.bfloat16())
    return _norm(x, model.model.norm.weight), new


def logits(model: Qwen3ForCausalLM, hidden: Tensor) -> Tensor:
    """Return the float32 logits ``[n, vocabulary]`` of ``hidden`` ``[n, width]``."""
    return functional.linear(hidden, model.model.embed_tokens.weight.bfloat16()).float()
