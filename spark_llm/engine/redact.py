"""What others say about a row, without the row: an error message may quote a prompt or a credential."""

from __future__ import annotations

from itertools import groupby

# Shorter pieces are words of any message; a quote that matters is longer.
_PIECE_CHARS = 20
_ROW_TEXT = "(row text)"
_HIDDEN = "(hidden)"


def without_rows(message: str, *texts: str) -> str:
    """`message` with what it quotes of `texts`, in pieces of 20 characters and more, as "(row text)"."""
    covered = bytearray(len(message))
    for at in range(len(message) - _PIECE_CHARS + 1):
        if any(message[at : at + _PIECE_CHARS] in text for text in texts):
            covered[at : at + _PIECE_CHARS] = b"\1" * _PIECE_CHARS
    runs = groupby(zip(message, covered, strict=True), lambda pair: pair[1])
    return "".join(_ROW_TEXT if quoted else "".join(char for char, _ in run) for quoted, run in runs)


def without_credential(message: str, credential: str | None) -> str:
    """`message` without the credential, should a server repeat it."""
    return message.replace(credential, _HIDDEN) if credential else message
