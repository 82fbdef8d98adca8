"""The shape of the demo model, and how it is written for vLLM."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM


def new_model(
    tokenizer: PreTrainedTokenizerFast, *, hidden_size: int = 256, layers: int = 4
) -> Qwen3ForCausalLM:
    """Create a model with random weights (seed PyTorch first).

    Args:
        tokenizer: Gives the vocabulary size and the ids of the special tokens.
        hidden_size: A multiple of 64, the width of a head.
        layers: Transformer blocks.

    Returns:
        A Qwen3 model in float32; of about 3.1 million parameters in the demo's shape.
    """
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        intermediate_size=2 * hidden_size,
        num_attention_heads=hidden_size // 64,
        num_key_value_heads=hidden_size // 64,
        head_dim=64,
        rms_norm_eps=1e-6,
        tie_word_embeddings=True,
        max_position_embeddings=4096,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return Qwen3ForCausalLM(config)


def save_model(model: Qwen3ForCausalLM, folder: Path) -> None:
    """Write the weights in bfloat16 with both configuration files.

    Args:
        model: The model; left in float32.
        folder: Folder of the model, which already holds the tokenizer. The weights
            appear under their final name at once, never half written.
    """
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: tensor.detach().to(torch.bfloat16).contiguous().clone()
        for name, tensor in model.state_dict().items()
        if name != "lm_head.weight"  # tied to the embedding
    }
    partial = folder / "model.safetensors.partial"
    save_file(weights, partial, metadata={"format": "pt"})
    # safetensors keeps the file to its owner; a model is read by whoever serves it.
    partial.chmod(0o644)
    partial.replace(folder / "model.safetensors")
    config = model.config.to_dict() | {
        "architectures": ["Qwen3ForCausalLM"],
        "dtype": "bfloat16",
        "use_cache": True,
    }
    config.pop("_name_or_path", None)
    generation = {
        "do_sample": False,
        "eos_token_id": model.config.eos_token_id,
        "pad_token_id": model.config.pad_token_id,
    }
    for name, content in (("config.json", config), ("generation_config.json", generation)):
        text = json.dumps(content, indent=2, sort_keys=True)
        (folder / name).write_text(text + "\n", encoding="utf-8")
