"""The tokenizer: byte-level BPE trained on the generator's own text, and the template.

Three choices make copying easy for a small model. Digits stand alone. A capitalised
word never swallows the space before it, so a name has the same tokens inside a text,
inside JSON quotes and at the start of an answer. The punctuation between two JSON
fields is one token.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from spark_llm.demo.generate import SYSTEM_PROMPT, examples

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

VOCABULARY: Final = 2048
PAD: Final = "<|endoftext|>"
START: Final = "<|im_start|>"
END: Final = "<|im_end|>"
THINK: Final = "<think>"
END_THINK: Final = "</think>"

# The thinking switch comes at the very end, so that prompts with and without thinking
# share every token but the last ones (and with them the prefix cache).
CHAT_TEMPLATE: Final = (
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}"
    "{{ '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking -%}"
    "{{ '<think>' }}"
    "{%- else -%}"
    "{{ '<think></think>' }}"
    "{%- endif -%}"
    "{%- endif -%}"
)

_SPLITS: Final = (
    r'"?: "',  # between a key and a text value
    r'"?, "',  # between two fields
    r'": |"\}|\{"|\["|"\]',
    r"[.,?!] (?=[A-Z])",  # between two sentences
    r"[0-9]",
    r"[A-Z]{3,}|[A-Z][a-z]*",
    r" ?[a-z]+(?:_[a-z]+)*",
    r"\n",
    r" ?[^\sA-Za-z0-9]",
    r"\s",
)

# Text of other kinds, so that the vocabulary is not blind outside the shop.
_OTHER_TEXT: Final = (
    "Grüße aus Köln, schöne Straße! Où est la gare? ¿Dónde está la tienda? 店は何時に開きますか。",
    "The quick brown fox jumps over the lazy dog. Pack my box with five dozen liquor jugs.",
    "SELECT name, price FROM products WHERE price < 10 ORDER BY name; def f(x): return x + 1",
    "https://example.com/a?b=c&d=e user@example.com #tag 100% (50 €) [1] {2} <3> x_y -- 'ok'",
)


def corpus(seed: int, count: int) -> Iterator[str]:
    """Yield the text that the tokenizer is trained on.

    Args:
        seed: Seed of the generator.
        count: Number of examples.

    Yields:
        Prompts, thinking and answers as plain text, then some other text.
    """
    # Every prompt holds these words, so they deserve whole tokens.
    yield from [f"system\n{SYSTEM_PROMPT}\nuser\nassistant"] * count
    for example in islice(examples(seed), count):
        yield example.user
        yield example.thinking
        yield example.answer
    yield from _OTHER_TEXT


def train_tokenizer(seed: int, count: int, folder: Path) -> None:
    """Train the tokenizer and write it as transformers and vLLM read it.

    Args:
        seed: Seed of the generator.
        count: Number of examples to learn the merges from.
        folder: Folder of the model; ``tokenizer.json`` and ``tokenizer_config.json``
            are written into it.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
    from tokenizers.trainers import BpeTrainer

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex("|".join(_SPLITS)), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    specials = [PAD, START, END]
    trainer = BpeTrainer(
        # Room for the two thinking tokens, which are added below.
        vocab_size=VOCABULARY - 2,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(seed, count), trainer)
    # Not special: a server must show them to its reasoning parser in the text.
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in (THINK, END_THINK)])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": PAD,
        "eos_token": END,
        "additional_special_tokens": [START],
        "clean_up_tokenization_spaces": False,
        "model_max_length": 4096,
        "chat_template": CHAT_TEMPLATE,
    }
    text = json.dumps(settings, indent=2, ensure_ascii=False)
    (folder / "tokenizer_config.json").write_text(text + "\n", encoding="utf-8")


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Load the tokenizer of a model folder with transformers."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(folder)
