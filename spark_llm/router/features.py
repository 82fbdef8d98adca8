"""Signals as standardised columns; a router keeps how, so that later rows get the same ones."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spark_llm.router.signals import Signals

Floats = npt.NDArray[np.float64]

LOGARITHMIC: Final = frozenset({"answer_tokens", "prompt_chars", "prompt_numbers"})
"""Counts with a long tail."""
BENDS: Final = frozenset({"answer_tokens"})
"""Whose longest tenth may behave otherwise: answers that ran away."""
FARTHEST: Final = 4.0
"""Standard deviations; what is farther off counts as that far."""
_NUMBER = re.compile(r"\d+")


def columns_of(signals: Signals, *, text: bool) -> dict[str, Floats]:
    """Numbers by name: the signals that are known, and with `text` also what the prompt looks like.

    Args:
        signals: of the rows.
        text: adds length, count of numbers, and whether there is an equals sign (arXiv 2409.12183: thinking
            helps where there is symbolic work).
    """
    found = dict(signals.known())
    if text and signals.prompts is not None:
        found["prompt_chars"] = np.array([len(p) for p in signals.prompts], float)
        found["prompt_numbers"] = np.array([len(_NUMBER.findall(p)) for p in signals.prompts], float)
        found["prompt_equals"] = np.array(["=" in p for p in signals.prompts], float)
    return {name: np.log1p(np.maximum(v, 0)) if name in LOGARITHMIC else v for name, v in found.items()}


@dataclass(frozen=True, slots=True)
class Features:
    """Which columns, and their scale.

    Attributes:
        names: of signals.
        centre: mean of each.
        scale: standard deviation of each, above 0.
        bend: where a second column of the signal starts, None where it has none.
        text: whether the prompt's looks are among them.
    """

    names: tuple[str, ...]
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    bend: tuple[float | None, ...]
    text: bool = False

    @classmethod
    def fit(cls, signals: Signals, *, text: bool = False) -> Features:
        """Takes the columns that are known and not constant."""
        kept: list[tuple[str, float, float, float | None]] = []
        for name, values in columns_of(signals, text=text).items():
            known = values[np.isfinite(values)]
            if len(known) and known.std() > 1e-9:
                bend = float(np.quantile(known, 0.9)) if name in BENDS else None
                kept.append((name, float(known.mean()), float(known.std()), bend))
        return cls(
            tuple(name for name, *_ in kept),
            tuple(centre for _, centre, _, _ in kept),
            tuple(scale for _, _, scale, _ in kept),
            tuple(bend for *_, bend in kept),
            text,
        )

    def matrix(self, signals: Signals) -> Floats:
        """Shape (rows, columns); a missing value counts as the mean."""
        known = columns_of(signals, text=self.text)
        out: list[Floats] = []
        for name, centre, scale, bend in zip(self.names, self.centre, self.scale, self.bend, strict=True):
            values = known.get(name, np.full(signals.rows, np.nan))
            # Log-probabilities may be -inf: as far off as anything.
            finite = np.where(np.isnan(values), centre, np.clip(values, -1e12, 1e12))
            out.append(np.clip((finite - centre) / scale, -FARTHEST, FARTHEST))
            if bend is not None:
                out.append(np.clip((finite - bend) / scale, 0.0, FARTHEST))
        return np.column_stack(out) if out else np.zeros((signals.rows, 0))

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {
            "names": list(self.names),
            "centre": list(self.centre),
            "scale": list(self.scale),
            "bend": list(self.bend),
            "text": self.text,
        }

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Features:
        """From `to_dict`."""

        def floats(values: Sequence[Any]) -> tuple[float, ...]:
            return tuple(float(v) for v in values)

        bend = tuple(None if v is None else float(v) for v in entry["bend"])
        names = tuple(str(name) for name in entry["names"])
        return cls(names, floats(entry["centre"]), floats(entry["scale"]), bend, bool(entry["text"]))
