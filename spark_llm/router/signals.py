"""What the first pass says about each row, as numbers; what is not known is left out."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Floats = npt.NDArray[np.float64]

NUMBERS: Final = (
    "mean_logprob",
    "min_logprob",
    "margin",
    "answer_tokens",
    "parse_failed",
    "second_agrees",
    "third_agrees",
    "neighbours_agree",
)
"""Signals that are numbers; a router learns from the ones that its pilot had."""
TEXTS: Final = ("prompts", "answers")


@dataclass(frozen=True, slots=True)
class Signals:
    """Signals of rows after the cheap arm's pass. Each is an array of shape (rows,), or None where unknown.

    A NaN says that a row lacks what others have.

    Attributes:
        rows: how many.
        prompts: the row's own text; the shared instruction says nothing within a query.
        answers: the cheap arm's answers; None for a row without.
        mean_logprob: mean log-probability of the answer's tokens, natural logarithm, at most 0.
        min_logprob: that of the least likely token.
        margin: log-probability of the first answer token less that of its best rival, at least 0.
        answer_tokens: length of the answer, what was thought included.
        parse_failed: 1 where the answer does not fit its type, else 0.
        second_agrees: 1 where a second small model gives the same answer, else 0; fractions where it was
            asked more than once.
        third_agrees: the same of a third.
        neighbours_agree: share of the nearest rows with the same answer, where somebody has looked;
            the worker does not.
    """

    rows: int
    prompts: Sequence[str] | None = None
    answers: Sequence[str | None] | None = None
    mean_logprob: Floats | None = None
    min_logprob: Floats | None = None
    margin: Floats | None = None
    answer_tokens: Floats | None = None
    parse_failed: Floats | None = None
    second_agrees: Floats | None = None
    third_agrees: Floats | None = None
    neighbours_agree: Floats | None = None

    def __post_init__(self) -> None:
        for name in NUMBERS:
            values = getattr(self, name)
            if values is None:
                continue
            array = np.asarray(values, dtype=np.float64)
            if array.shape != (self.rows,):
                raise ValueError(f"{name} must have shape ({self.rows},), not {array.shape}")
            object.__setattr__(self, name, array)
        for name in TEXTS:
            texts = getattr(self, name)
            if texts is not None and len(texts) != self.rows:
                raise ValueError(f"{name} must have {self.rows} entries, not {len(texts)}")

    def known(self) -> Mapping[str, Floats]:
        """The signals that are numbers and known for at least one row, by name."""
        found = ((name, getattr(self, name)) for name in NUMBERS)
        return {name: values for name, values in found if values is not None and not np.isnan(values).all()}

    def take(self, index: Any) -> Signals:
        """The signals of some rows.

        Args:
            index: positions or a mask, as numpy takes them.
        """
        where = np.arange(self.rows)[index]
        picked: dict[str, Any] = {"rows": len(where)}
        for field in fields(self)[1:]:
            values = getattr(self, field.name)
            if isinstance(values, np.ndarray):
                picked[field.name] = values[where]
            elif values is not None:
                picked[field.name] = [values[at] for at in where]
        return Signals(**picked)
