"""A model of the demo's shape, made larger so that prefill costs something: random weights, real tokens.

What it answers means nothing; what it costs to ask is that of a trained model of the same size.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

VOCABULARY: Final = 8192
MAX_MODEL_LEN_TOKENS: Final = 4096


def write(folder: Path, texts: Iterable[str], *, hidden_size: int, layers: int, seed: int) -> int:
    """Writes tokenizer and weights; returns the number of parameters.

    Args:
        folder: of the model; made where missing.
        texts: what the byte-level BPE vocabulary of 8,192 entries is learnt from.
        hidden_size: a multiple of 64.
        layers: transformer blocks.
        seed: of the weights.
    """
    import torch

    from spark_llm.demo.model_shape import new_model, save_model
    from spark_llm.demo.tokenizer import load_tokenizer

    _write_tokenizer(folder, texts)
    torch.manual_seed(seed)
    model = new_model(load_tokenizer(folder), hidden_size=hidden_size, layers=layers)
    save_model(model, folder)
    return int(sum(weight.numel() for weight in model.parameters()))


def _write_tokenizer(folder: Path, texts: Iterable[str]) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from tokenizers.trainers import BpeTrainer

    from spark_llm.demo.tokenizer import CHAT_TEMPLATE, END, END_THINK, PAD, START, THINK

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=VOCABULARY - 2,  # the two thinking tokens are added below
        special_tokens=[PAD, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in (THINK, END_THINK)])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": PAD,
        "eos_token": END,
        "additional_special_tokens": [START],
        "clean_up_tokenization_spaces": False,
        "model_max_length": MAX_MODEL_LEN_TOKENS,
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
