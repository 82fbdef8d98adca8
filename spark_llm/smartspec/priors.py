"""What queries of a shape accepted, kept in a file: the second run starts warm.

FOLDER/speculation-priors.json
    {"version": 1, "priors": {SHAPE: {DRAFTER: {"acceptance": [0.91, 0.95, …], "trials": 812, "at_s": …}}}}
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

VERSION: Final = 1
FILE: Final = "speculation-priors.json"
MOST_SHAPES: Final = 1000
"""The ones that were not seen for longest go first."""
MOST_TRIALS: Final = 10_000.0
"""What an old prior weighs at most against new trials."""
MOST_POSITIONS: Final = 64
_LOWEST, _HIGHEST = 0.01, 0.99


@dataclass(frozen=True, slots=True)
class Prior:
    """Acceptance of a drafter for queries of one shape.

    Attributes:
        acceptance: by position, given that all before it were accepted; between 0.01 and 0.99.
        trials: how many trials it rests on.
        at_s: when it was last updated, in seconds since 1970.
    """

    acceptance: tuple[float, ...]
    trials: float
    at_s: float

    def updated(self, other: Prior) -> Prior:
        """With newer trials, each weighing what it rests on."""
        old_trials = min(self.trials, MOST_TRIALS)
        trials = old_trials + other.trials
        if trials <= 0:
            return other
        weight = other.trials / trials
        # Positions that only one of the two has stay as they are.
        longer = max(self.acceptance, other.acceptance, key=len)
        mixed = [a + weight * (b - a) for a, b in zip(self.acceptance, other.acceptance, strict=False)]
        return Prior(tuple(mixed) + longer[len(mixed) :], trials, max(self.at_s, other.at_s))


class Priors:
    """The file, read once; `save` adds what was learned to what others have written since.

    A file that cannot be read, or not as what it should be, is a cold start and no error: the run learns
    anew, and its `save` replaces the file.

    Attributes:
        problem: why nothing was read, for the log; empty where all is well.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._file = Path(folder) / FILE
        self._learned: dict[tuple[str, str], Prior] = {}
        self._known, self.problem = _read(self._file)

    def get(self, shape: str, drafter: str) -> Prior | None:
        """The prior of a query shape and a drafter; None where there is none.

        Args:
            shape: the same for queries that ask the same of other rows, such as a call's fingerprint.
            drafter: acceptance of one says nothing about another's.
        """
        known, learned = self._known.get((shape, drafter)), self._learned.get((shape, drafter))
        if known is None or learned is None:
            return known or learned
        return known.updated(learned)

    def learn(
        self, shape: str, drafter: str, acceptance: Sequence[float], trials: float, *, at_s: float
    ) -> None:
        """Adds what a run has seen; what is no acceptance is left out.

        Args:
            shape: see `get`.
            drafter: see `get`.
            acceptance: by position.
            trials: of this run.
            at_s: now, in seconds since 1970.
        """
        seen = _prior(acceptance, trials, at_s)
        if seen is None or not seen.trials:
            return
        before = self._learned.get((shape, drafter))
        self._learned[shape, drafter] = seen if before is None else before.updated(seen)

    def save(self) -> None:
        """Writes the file in one move; a reader sees the old or the new one.

        Raises:
            OSError: the folder cannot be written.
        """
        known, _ = _read(self._file)
        for key, learned in self._learned.items():
            known[key] = known[key].updated(learned) if key in known else learned
        self._known, self._learned, self.problem = _newest(known), {}, ""
        content: dict[str, dict[str, Any]] = {}
        for (shape, drafter), prior in self._known.items():
            content.setdefault(shape, {})[drafter] = {
                "acceptance": [round(a, 4) for a in prior.acceptance],
                "trials": round(prior.trials),
                "at_s": round(prior.at_s),
            }
        self._file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{FILE}.", dir=self._file.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump({"version": VERSION, "priors": content}, file, indent=1)
            Path(name).replace(self._file)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise


def _read(file: Path) -> tuple[dict[tuple[str, str], Prior], str]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}, ""
    except (OSError, ValueError, RecursionError) as error:
        return {}, f"{file}: {error}"
    version = content.get("version") if isinstance(content, dict) else None
    if version != VERSION:
        return {}, f"{file}: version {version!r}, not {VERSION}"
    found: dict[tuple[str, str], Prior] = {}
    shapes = content.get("priors")
    for shape, drafters in shapes.items() if isinstance(shapes, dict) else ():
        for drafter, values in drafters.items() if isinstance(drafters, dict) else ():
            if isinstance(values, dict) and (
                prior := _prior(values.get("acceptance"), values.get("trials"), values.get("at_s"))
            ):
                found[shape, drafter] = prior
    return found, ""


def _prior(acceptance: Any, trials: Any, at_s: Any) -> Prior | None:
    """A prior from values that may be anything."""
    try:
        by_position = tuple(float(a) for a in acceptance)[:MOST_POSITIONS]
        numbers = (*by_position, float(trials), float(at_s))
    except (TypeError, ValueError, OverflowError):
        return None
    if not by_position or not all(math.isfinite(number) for number in numbers):
        return None
    clamped = tuple(min(max(a, _LOWEST), _HIGHEST) for a in by_position)
    return Prior(clamped, max(float(trials), 0.0), float(at_s))


def _newest(priors: dict[tuple[str, str], Prior]) -> dict[tuple[str, str], Prior]:
    last_s: dict[str, float] = {}
    for (shape, _), prior in priors.items():
        last_s[shape] = max(last_s.get(shape, 0.0), prior.at_s)
    kept = set(sorted(last_s, key=lambda shape: -last_s[shape])[:MOST_SHAPES])
    return {key: prior for key, prior in priors.items() if key[0] in kept}
