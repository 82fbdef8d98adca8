"""Prompt tokens without a tokenizer: what a byte-pair vocabulary of some 100,000 entries makes of a text.

A word is one token for every 8 letters (10 with the blank before it), digits go by threes, punctuation by
fours, and a run of white space is one token. Within some 6 % of real vocabularies on tables of natural text;
a caller that has the model's tokenizer hands `order_table` exact counts instead.

The rules are a finite automaton, one table look-up per byte:

    state: which run, how many characters of its token  ──byte──►  next state, and 1 when a token begins
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from spark_llm.planner.kernel import kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

WORD_CHARS: Final = 8
WORD_WITH_BLANK_CHARS: Final = 10
DIGITS: Final = 3
MARKS: Final = 4
_LETTER, _DIGIT, _SPACE, _BLANK, _MARK, _UNDERSCORE, _CONTINUATION = range(7)
_BEGINS: Final = 1 << 15


def _class_of(byte: int) -> int:
    char = chr(byte)
    if byte & 0xC0 == 0x80:
        return _CONTINUATION
    if byte >= 0x80 or char.isalpha():
        return _LETTER
    if char.isdigit():
        return _DIGIT
    if char == " ":
        return _SPACE
    if char.isspace():
        return _BLANK
    return _UNDERSCORE if char == "_" else _MARK


def _automaton() -> NDArray[np.uint16]:
    """The transitions, uint16 (states * 256,): next state times 256, plus `_BEGINS` where a token begins."""
    # A run is (class, begun by a lone space?); its states count the characters of the token under way.
    sizes = {
        (_LETTER, False): WORD_CHARS,
        (_LETTER, True): WORD_WITH_BLANK_CHARS,
        (_MARK, False): MARKS,
        (_MARK, True): WORD_WITH_BLANK_CHARS,
        (_DIGIT, False): DIGITS,
        (_UNDERSCORE, False): MARKS,
        (_SPACE, True): 1,  # one space, which may belong to the word that follows
        (_BLANK, False): 1,
    }
    first, states = {}, 1  # state 0: nothing read yet
    for run, size in sizes.items():
        first[run], states = states, states + size
    if states >= _BEGINS >> 8:
        raise AssertionError(states)
    table = np.zeros((states, 256), np.uint16)
    for byte in range(256):
        kind = _class_of(byte)
        fresh = first[(_SPACE, True) if kind == _SPACE else (kind, False)] if kind != _CONTINUATION else 0
        table[:, byte] = (fresh << 8) | _BEGINS
        for run, size in sizes.items():
            for nth in range(size):
                state, after = first[run] + nth, (first[run] + nth + 1 if nth + 1 < size else first[run])
                begins = _BEGINS if nth + 1 == size else 0
                if kind == _CONTINUATION:
                    table[state, byte] = state << 8
                elif run[0] in {_SPACE, _BLANK} and kind in {_SPACE, _BLANK}:
                    table[state, byte] = first[_BLANK, False] << 8
                elif run == (_SPACE, True) and kind in {_LETTER, _MARK}:
                    # the space is the first character of this token
                    table[state, byte] = (first[kind, True] + 1) << 8
                elif kind == run[0] and kind not in {_SPACE, _BLANK}:
                    table[state, byte] = (after << 8) | begins
    table[0, [byte for byte in range(256) if _class_of(byte) == _CONTINUATION]] = 0
    return table.reshape(-1)


TRANSITIONS: Final = _automaton()


def estimate_tokens(texts: pa.StringArray | pa.LargeStringArray) -> NDArray[np.int32]:
    """Returns estimated tokens per text, shape (len(texts),); null counts as the empty text, 0."""
    offsets, data = _buffers(texts)
    return _estimate(offsets, data, TRANSITIONS)  # type: ignore[no-any-return]


def prefix_keys(texts: pa.StringArray | pa.LargeStringArray) -> NDArray[np.uint64]:
    """Returns the first 8 bytes of each text as a big-endian number, which sorts as the texts do."""
    offsets, data = _buffers(texts)
    return _keys(offsets, data)  # type: ignore[no-any-return]


def text_bytes(texts: pa.StringArray | pa.LargeStringArray) -> NDArray[np.int64]:
    """Returns the length of each text in bytes of UTF-8, int64 (len(texts),)."""
    return np.diff(_buffers(texts)[0])


def _buffers(texts: Any) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    kind = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    _, offsets, data = texts.buffers()
    if offsets is None or not offsets.size:
        return np.zeros(len(texts) + 1, np.int64), np.zeros(0, np.uint8)
    places = np.frombuffer(offsets, kind, len(texts) + 1, texts.offset * np.dtype(kind).itemsize)
    raw = np.frombuffer(data, np.uint8) if data is not None and data.size else np.zeros(0, np.uint8)
    return places.astype(np.int64), raw


@kernel
def _estimate(offsets: Any, data: Any, table: Any) -> Any:
    # Each step waits for the one before; two texts at a time keep the processor busy meanwhile.
    count = len(offsets) - 1
    out = np.empty(count, np.int32)
    half = (count + 1) // 2
    for i in range(half):
        j = i + half if i + half < count else i
        left, right = data[offsets[i] : offsets[i + 1]], data[offsets[j] : offsets[j + 1]]
        both = min(len(left), len(right))
        state_l, state_r, tokens_l, tokens_r = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
        for at in range(both):
            step_l, step_r = np.int64(table[state_l + left[at]]), np.int64(table[state_r + right[at]])
            tokens_l += step_l >> 15
            tokens_r += step_r >> 15
            state_l, state_r = step_l & 0x7F00, step_r & 0x7F00
        out[i] = tokens_l + _rest(left[both:], table, state_l)
        out[j] = tokens_r + _rest(right[both:], table, state_r)
    return out


@kernel
def _rest(text: Any, table: Any, state: Any) -> Any:
    tokens = np.int64(0)
    for byte in text:
        step = np.int64(table[state + byte])
        tokens += step >> 15
        state = step & 0x7F00
    return tokens


@kernel
def _keys(offsets: Any, data: Any) -> Any:
    count = len(offsets) - 1
    out = np.zeros(count, np.uint64)
    for i in range(count):
        key = np.uint64(0)
        for place in range(8):
            at = offsets[i] + place
            byte = np.uint64(data[at]) if at < offsets[i + 1] else np.uint64(0)
            key = (key << np.uint64(8)) | byte
        out[i] = key
    return out
