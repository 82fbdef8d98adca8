"""All policies by name: each scores rows, and a row whose score is above 0 is worth the costly arm."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from spark_llm.router.router import Router
from spark_llm.router.semantic_router import DEFAULT_TABLE, THRESHOLD, decide_all
from spark_llm.router.text import TFIDF, TextClassifier

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from spark_llm.router.pilot import PilotOutcome
    from spark_llm.router.signals import Signals

Floats = npt.NDArray[np.float64]


class Policy(Protocol):
    """Scores rows after it was fitted to a pilot; most need none."""

    def fit(self, signals: Signals, outcome: PilotOutcome) -> None:
        """Learns from a pilot, both of the same rows."""

    def scores(self, signals: Signals) -> Floats:
        """Shape (rows,): the higher the sooner a row gets the costly arm, at most 0 never."""


@dataclass(slots=True)
class Constant:
    """The same arm for all rows."""

    score: float

    def fit(self, signals: Signals, outcome: PilotOutcome) -> None:
        """Learns nothing."""

    def scores(self, signals: Signals) -> Floats:
        """All the same."""
        return np.full(signals.rows, self.score)


@dataclass(slots=True)
class Random:
    """Scores between -1 and 1 by chance, to compare with."""

    seed: int = 0

    def fit(self, signals: Signals, outcome: PilotOutcome) -> None:
        """Learns nothing."""

    def scores(self, signals: Signals) -> Floats:
        """Drawn anew from the seed."""
        return np.random.default_rng(self.seed).uniform(-1, 1, signals.rows)


@dataclass(slots=True)
class SemanticRouter:
    """The published policy: categories, a table and the entropy rule; see `semantic_router`.

    Attributes:
        categories: a fitted classifier of prompts.
        table: whether a category reasons.
        threshold: of the likeliest category, where entropy is medium.
    """

    categories: TextClassifier
    table: Mapping[str, bool] = field(default_factory=lambda: DEFAULT_TABLE)
    threshold: float = THRESHOLD

    def fit(self, signals: Signals, outcome: PilotOutcome) -> None:
        """Learns nothing of the query: its classifier and its table are given."""

    def scores(self, signals: Signals) -> Floats:
        """1 where the rule says to reason, else -1."""
        chances = self.categories.chances(_prompts(signals))
        use = decide_all(chances, self.categories.classes, self.table, self.threshold)
        return np.where(use, 1.0, -1.0)


@dataclass(slots=True)
class Text:
    """Calibrated chance that a row gains, from its text alone, less the share of rows that lose.

    Attributes:
        encoder: `tfidf`, or the folder of an embedding model.
    """

    encoder: str = TFIDF
    seed: int = 0
    _classifier: TextClassifier | None = None
    _gains: float = 0.0
    _loses: float = 0.0

    def fit(self, signals: Signals, outcome: PilotOutcome) -> None:
        """Fits the classifier; a pilot in which all rows gain, or none, leaves its share."""
        scored = np.flatnonzero(outcome.scored)
        gains = outcome.gains[scored] > 0
        prompts = _prompts(signals)
        labels = np.where(gains, "gains", "stays").tolist()
        self._gains, self._loses = float(gains.mean()), float((outcome.gains[scored] < 0).mean())
        self._classifier = None
        if 1 < gains.sum() < len(gains) - 1:
            texts = [prompts[row] for row in scored]
            self._classifier = TextClassifier.fit(texts, labels, encoder=self.encoder, seed=self.seed)

    def scores(self, signals: Signals) -> Floats:
        """Expected gain."""
        if self._classifier is None:
            return np.full(signals.rows, self._gains - self._loses)
        return self._classifier.chances(_prompts(signals))[:, 0] - self._loses


@dataclass(slots=True)
class CascadePolicy:
    """The router's expected gain, from signals of a first pass of the cheap arm."""

    seed: int = 0
    router: Router | None = None

    def fit(self, signals: Signals, outcome: PilotOutcome) -> None:
        """Fits the router."""
        self.router = Router.fit(signals, outcome, seed=self.seed)

    def scores(self, signals: Signals) -> Floats:
        """Expected gain.

        Raises:
            ValueError: it was not fitted.
        """
        if self.router is None:
            raise ValueError("the cascade is fitted to a pilot first")
        return self.router.expected(signals).gain


@dataclass(slots=True)
class Oracle:
    """Knows the gains: for replays, where both arms have answered all rows."""

    gains: Sequence[float]

    def fit(self, signals: Signals, outcome: PilotOutcome) -> None:
        """Learns nothing."""

    def scores(self, signals: Signals) -> Floats:  # noqa: ARG002
        """The gains."""
        return np.asarray(self.gains, np.float64)


def _prompts(signals: Signals) -> Sequence[str]:
    if signals.prompts is None:
        raise ValueError("this policy needs the rows' texts")
    return signals.prompts


POLICIES: Final[Mapping[str, Callable[..., Policy]]] = {
    "always_on": lambda: Constant(1.0),
    "always_off": lambda: Constant(-1.0),
    "random": Random,
    "semantic_router": SemanticRouter,
    "text": Text,
    "cascade": CascadePolicy,
    "oracle": Oracle,
}
DEFAULT: Final = "cascade"


def policy_of(name: str, **options: Any) -> Policy:
    """A policy by its name.

    Args:
        name: one of `POLICIES`.
        options: of its class.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in POLICIES:
        raise ValueError(f"no policy {name!r}; there are {', '.join(POLICIES)}")
    return POLICIES[name](**options)
