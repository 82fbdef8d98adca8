"""Random models with layers of several shapes, small enough for any CPU; vocabulary without a tokenizer.

gemma3       10 windowed + 2 full layers, one head size
gemma3-odd    7 windowed + 4 full: no common group size
gemma4       10 windowed + 2 full of twice the head size
gpt-oss       4 windowed + 4 full, attention sinks and experts
lfm2          6 short convolutions, which keep states, + 2 full
qwen3         8 full: the control, all layers alike
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

VOCABULARY = 512
WINDOW = 128
HIDDEN = 64
HETEROGENEOUS = ("gemma3", "gemma3-odd", "gemma4", "gpt-oss", "lfm2")
HOMOGENEOUS = ("qwen3",)
# transformers names the width of a convolution in another way than vLLM reads it.
OVERRIDES: dict[str, dict[str, Any]] = {"lfm2": {"conv_dim": HIDDEN, "block_dim": HIDDEN}}


def make(name: str, folder: Path) -> Path:
    """Writes a model, its weights drawn from a fixed seed; returns its folder."""
    import torch
    import transformers

    path = folder / name
    if not (path / "config.json").exists():
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(_config(name))
        model.to(torch.float32).save_pretrained(path)
    return path


def _config(name: str) -> Any:
    import transformers

    def layers(count: int, full: Any, other: str = "sliding_attention") -> dict[str, Any]:
        kinds = ["full_attention" if full(at) else other for at in range(count)]
        return {"num_hidden_layers": count, "layer_types": kinds}

    base: dict[str, Any] = {
        "vocab_size": VOCABULARY, "hidden_size": HIDDEN, "intermediate_size": 2 * HIDDEN,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 4096,
        "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "tie_word_embeddings": True,
    }  # fmt: skip
    window = {"sliding_window": WINDOW}
    match name:
        case "gemma3":
            return transformers.Gemma3TextConfig(
                **base, **window, **layers(12, lambda at: at % 6 == 5), head_dim=32, query_pre_attn_scalar=32
            )
        case "gemma3-odd":
            return transformers.Gemma3TextConfig(
                **base, **window, **layers(11, lambda at: at % 3 == 2 or at == 10), head_dim=32,
                query_pre_attn_scalar=32,
            )  # fmt: skip
        case "gemma4":
            return transformers.Gemma4TextConfig(
                **base, **window, **layers(12, lambda at: at % 6 == 5), head_dim=32, global_head_dim=64,
                vocab_size_per_layer_input=VOCABULARY, hidden_size_per_layer_input=0, num_kv_shared_layers=0,
            )  # fmt: skip
        case "gpt-oss":
            # vLLM reads its head from the file even where it is tied, and would find none.
            return transformers.GptOssConfig(
                **{**base, "tie_word_embeddings": False}, **window, **layers(8, lambda at: at % 2 == 1),
                head_dim=32, num_local_experts=4, num_experts_per_tok=2,
            )  # fmt: skip
        case "lfm2":
            heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
            return transformers.Lfm2Config(**{**base, **heads}, **layers(8, lambda at: at % 4 == 2, "conv"))
        case "qwen3":
            return transformers.Qwen3Config(**base, num_hidden_layers=8, head_dim=32)
    raise ValueError(f"model {name}: expected one of {', '.join(HETEROGENEOUS + HOMOGENEOUS)}")
