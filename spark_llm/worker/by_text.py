"""The policies that decide from a row's text alone, before it is asked: one pass, thinking or not.

text              a classifier of "thinking gains here", fitted to the pilot
semantic_router   the published one: a classifier of subjects and a table, both the user's; no pilot
"""

from __future__ import annotations

import base64
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from spark_llm.errors import invalid_conf
from spark_llm.router import policy_of
from spark_llm.router.budget import knapsack, worthwhile
from spark_llm.router.semantic_router import DEFAULT_TABLE
from spark_llm.router.text import TextClassifier

if TYPE_CHECKING:
    from spark_llm.conf import Conf
    from spark_llm.router import Budget, PilotOutcome, Signals
    from spark_llm.router.policies import Policy

CLASSIFIER: Final = "spark.llm.reasoning.classifier"
_TABLE: Final = "spark.llm.reasoning.categories"
_FEWEST: Final = 2


class TextGain(NamedTuple):
    """Chance that thinking gains on a row, by its text, less the share of rows that lose.

    Attributes:
        classifier: a saved `TextClassifier`, base64; empty where the pilot could not tell rows apart.
        gains: share of the pilot's rows that gain.
        loses: share that lose.
        extra_tokens: mean of what thinking takes.
    """

    classifier: str
    gains: float
    loses: float
    extra_tokens: float

    @classmethod
    def fit(cls, signals: Signals, outcome: PilotOutcome) -> TextGain:
        """Fits to a pilot, both of the same rows."""
        scored = np.flatnonzero(outcome.scored)
        gain = outcome.gains[scored] > 0
        lose = float((outcome.gains[scored] < 0).mean()) if len(scored) else 0.0
        share = float(gain.mean()) if len(scored) else 0.0
        extra = float(outcome.extra_tokens.mean()) if outcome.rows else 0.0
        texts = signals.prompts
        if texts is None or not _FEWEST <= int(gain.sum()) <= len(scored) - _FEWEST:
            return cls("", share, lose, extra)
        labels = np.where(gain, "gains", "stays").tolist()
        return cls(_packed(TextClassifier.fit([texts[row] for row in scored], labels)), share, lose, extra)

    def scores(self, prompts: list[str]) -> np.ndarray:
        """Shape (rows,): above 0 where thinking is expected to gain."""
        if not self.classifier:
            return np.full(len(prompts), self.gains - self.loses)
        return _unpacked(self.classifier).chances(prompts)[:, 0] - self.loses

    def choose(self, prompts: list[str], budget: Budget | None) -> list[bool]:
        """Whether each row thinks, within a budget as far as its rows go."""
        scores, cost = self.scores(prompts), np.full(len(prompts), self.extra_tokens)
        if budget is None or not budget.limited:
            return [bool(each) for each in worthwhile(scores, cost)]
        return [bool(each) for each in knapsack(scores, cost, budget.tokens(len(prompts)))]


def published(conf: Conf) -> Policy:
    """The published policy with the user's classifier and table.

    Raises:
        SparkLLMError: LLM_INVALID_CONF without a classifier, or with a file that is none.
    """
    path, table = conf.get(CLASSIFIER), conf.get(_TABLE)
    expected = "a file that spark_llm.router.text.TextClassifier.save wrote, for the policy semantic_router"
    if path is None:
        raise invalid_conf(CLASSIFIER, "(unset)", expected)
    try:
        categories = TextClassifier.load(Path(path).expanduser())
    except Exception as error:
        raise invalid_conf(CLASSIFIER, path, f"{expected} ({type(error).__name__}: {error})") from error
    return policy_of("semantic_router", categories=categories, table=table or DEFAULT_TABLE)


def _packed(classifier: TextClassifier) -> str:
    with tempfile.TemporaryDirectory(prefix="spark-llm-") as folder:
        file = Path(folder) / "classifier.safetensors"
        classifier.save(file)
        return base64.b64encode(file.read_bytes()).decode()


def _unpacked(text: str) -> TextClassifier:
    with tempfile.TemporaryDirectory(prefix="spark-llm-") as folder:
        file = Path(folder) / "classifier.safetensors"
        file.write_bytes(base64.b64decode(text))
        return TextClassifier.load(file)
