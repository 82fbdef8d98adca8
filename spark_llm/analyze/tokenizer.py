"""Text to token ids: an estimate without any vocabulary, or a model's tokenizer.json.

    texts ──► ids uint32 (n_tokens,) and offsets int64 (n_texts + 1,)

The estimate cuts texts where a byte-pair vocabulary of some 100,000 entries would, by the rules of
`spark_llm.planner.token_estimate`, and takes a hash of each piece for its id: equal pieces have equal ids,
which is all that a prefix cache looks at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from spark_llm.errors import SparkLLMError
from spark_llm.planner.kernel import kernel
from spark_llm.planner.token_estimate import TRANSITIONS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from spark_llm.planner.encode import CountTokens

ESTIMATE_NOTE: Final = (
    "estimated, within some 6 % of a vocabulary of 100,000; --tokenizer FILE counts exactly"
)


class TokenIds(NamedTuple):
    """Tokens of several texts: text i has ``ids[offsets[i]:offsets[i + 1]]``."""

    ids: NDArray[np.uint32]
    offsets: NDArray[np.int64]


class Tokenizer(Protocol):
    """Cuts texts into tokens; ``note`` says in a few words how the counts are made."""

    note: str

    def counter(self) -> CountTokens | None:
        """Returns what `order_table` takes for its ``count_tokens``."""
        ...

    def encode(self, texts: Sequence[str]) -> TokenIds:
        """Returns the tokens of each text."""
        ...


class EstimatedTokenizer:
    """Tokens by rules, without a vocabulary."""

    note = ESTIMATE_NOTE

    def counter(self) -> CountTokens | None:
        """Returns None: the planner estimates by the same rules."""
        return None

    def encode(self, texts: Sequence[str]) -> TokenIds:
        """Returns one id per piece: a hash of its bytes."""
        raw = [text.encode("utf-8", "surrogatepass") for text in texts]
        places = np.zeros(len(raw) + 1, np.int64)
        np.cumsum([len(part) for part in raw], out=places[1:])
        ids, offsets = _pieces(places, np.frombuffer(b"".join(raw), np.uint8), TRANSITIONS)
        return TokenIds(ids, offsets)


class FileTokenizer:
    """Exact tokens of a model.

    Args:
        file: a ``tokenizer.json`` as models on the hub carry it.

    Raises:
        SparkLLMError: LLM_FILE_UNREADABLE when the file is missing or no tokenizer; LLM_UNSUPPORTED when the
            `tokenizers` package is not installed.
    """

    def __init__(self, file: Path) -> None:
        try:
            from tokenizers import Tokenizer as Library
        except ImportError as error:
            raise SparkLLMError(
                "LLM_UNSUPPORTED",
                feature="--tokenizer without the tokenizers package",
                instead="pip install tokenizers, or leave the option out for an estimate.",
            ) from error
        try:
            self._library = Library.from_str(file.read_text(encoding="utf-8"))
        except Exception as error:  # the library raises bare Exception for what it cannot read
            raise SparkLLMError(
                "LLM_FILE_UNREADABLE", file=file, reason=f"not a tokenizer.json: {error}"
            ) from error
        self.note = f"exact, by {file}"

    def counter(self) -> CountTokens | None:
        """Returns the count of tokens per text."""

        def count(texts: pa.Array) -> NDArray[np.int64]:
            return np.diff(self.encode([text or "" for text in texts.to_pylist()]).offsets)

        return count

    def encode(self, texts: Sequence[str]) -> TokenIds:
        """Returns the ids of the vocabulary, without special tokens."""
        found = self._library.encode_batch_fast(list(texts), add_special_tokens=False)
        offsets = np.zeros(len(texts) + 1, np.int64)
        parts = [np.asarray(entry.ids, np.uint32) for entry in found]
        np.cumsum([len(part) for part in parts], out=offsets[1:])
        return TokenIds(np.concatenate(parts) if parts else np.zeros(0, np.uint32), offsets)


@kernel
def _pieces(offsets: Any, data: Any, table: Any) -> Any:
    count = len(offsets) - 1
    out = np.empty(len(data), np.uint32)
    ends = np.zeros(count + 1, np.int64)
    size = 0
    for i in range(count):
        state = np.int64(0)
        key = np.uint32(0)
        started = False
        for byte in data[offsets[i] : offsets[i + 1]]:
            step = np.int64(table[state + byte])
            if step >> 15 or not started:
                if started:
                    out[size] = key
                    size += 1
                key = np.uint32(2166136261)
                started = True
            key = np.uint32((key ^ np.uint32(byte)) * np.uint32(16777619))
            state = step & 0x7F00
        if started:
            out[size] = key
            size += 1
        ends[i + 1] = size
    return out[:size].copy(), ends
