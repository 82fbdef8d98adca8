"""How long rows were, kept from run to run: an engine lays out its memory before it sees the first one.

FOLDER/row-lengths.json
    {"version": 1, "models": {MODEL: {"256": 1830, "288": 4012, …}}}      rows by tokens, prompt and answer

Tokens are rounded up to eight steps an octave. Of a model the newest `MOST_ROWS` rows count, about: older
ones fade.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from spark_llm.jenga.waste import Length

VERSION: Final = 1
FILE: Final = "row-lengths.json"
MOST_ROWS: Final = 20_000
MOST_MODELS: Final = 100
LEAST_ROWS: Final = 32
"""Fewer say nothing about the next query."""
_LEAST_STEP: Final = 16


def rounded(tokens: int) -> int:
    """Tokens rounded up to a step of an eighth of their octave, 16 at least."""
    step = max(_LEAST_STEP, 1 << max(tokens.bit_length() - 4, 0))
    return -(-tokens // step) * step


class RowLengths:
    """Lengths of a model's rows; a file that cannot be read, or not as what it should be, is empty.

    Args:
        folder: of the file.
        model: the model's name.
    """

    def __init__(self, folder: str | os.PathLike[str], model: str) -> None:
        self._file, self._model = Path(folder) / FILE, model
        self._seen: Counter[int] = Counter()

    def known(self) -> list[Length]:
        """Of earlier rows, the shortest first; none where they were fewer than `LEAST_ROWS`."""
        rows = _read(self._file).get(self._model, {})
        if sum(rows.values()) < LEAST_ROWS:
            return []
        return [Length(tokens, requests=count) for tokens, count in sorted(rows.items())]

    def add(self, tokens: int) -> None:
        """A row was answered."""
        self._seen[rounded(tokens)] += 1

    def save(self) -> None:
        """Adds what was seen to what others have written since, in one move.

        Raises:
            OSError: the folder cannot be written.
        """
        if not self._seen:
            return
        models = _read(self._file)
        rows = Counter(models.pop(self._model, {}))
        rows.update(self._seen)
        if (total := sum(rows.values())) > MOST_ROWS:
            faded = {tokens: count * MOST_ROWS // total for tokens, count in rows.items()}
            rows = Counter({tokens: count for tokens, count in faded.items() if count})
        # Models that were not seen for longest stand in front.
        kept = [*[*models.items()][-(MOST_MODELS - 1) :], (self._model, dict(rows))]
        self._seen.clear()
        self._file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{FILE}.", dir=self._file.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump({"version": VERSION, "models": dict(kept)}, file)
            Path(name).replace(self._file)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise


def _read(file: Path) -> dict[str, dict[int, int]]:
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8"))
        if content["version"] != VERSION:
            return {}
        return {
            str(model): {
                int(tokens): int(count) for tokens, count in rows.items() if int(count) > 0 < int(tokens)
            }
            for model, rows in content["models"].items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}
