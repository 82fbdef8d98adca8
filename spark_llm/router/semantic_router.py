"""The published policy: a category, a table that says which categories reason, and the entropy rule.

Source: arXiv 2510.08731 and the public code of vllm-project/semantic-router of October 2025; thresholds are
its.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Floats = npt.NDArray[np.float64]

CATEGORIES: Final = (
    "biology",
    "business",
    "chemistry",
    "computer science",
    "economics",
    "engineering",
    "health",
    "history",
    "law",
    "math",
    "other",
    "philosophy",
    "physics",
    "psychology",
)
"""The fourteen of MMLU-Pro."""
DEFAULT_TABLE: Final = {c: c in {"math", "physics", "chemistry"} for c in CATEGORIES}
GENERATED_TABLE: Final = {
    c: c in {"math", "physics", "chemistry", "computer science", "engineering", "biology"} for c in CATEGORIES
}
"""The later one, generated from a benchmark."""
TABLES: Final = {"default": DEFAULT_TABLE, "generated": GENERATED_TABLE}

THRESHOLD: Final = 0.6
"""Of the category's chance, for trust in the middle of the entropy range."""
VERY_HIGH, HIGH, MEDIUM, LOW = 0.8, 0.6, 0.4, 0.2


@dataclass(frozen=True, slots=True)
class Reasoning:
    """What the rule says of one prompt.

    Attributes:
        use: whether to reason.
        confidence: of the likeliest category, scaled as published; of a vote, its share.
        entropy: normalised to 0..1.
        rule: the branch that was taken.
    """

    use: bool
    confidence: float
    entropy: float
    rule: str


def normalised_entropy(chances: Sequence[float]) -> float:
    """Entropy in bits over its maximum; 0 with a single class."""
    p = np.asarray(chances, np.float64)
    if len(p) < 2:
        return 0.0
    held = p[p > 0]
    return float(-(held * np.log2(held)).sum() / np.log2(len(p)))


def decide(
    chances: Mapping[str, float], table: Mapping[str, bool] = DEFAULT_TABLE, threshold: float = THRESHOLD
) -> Reasoning:
    """The entropy rule, from a distribution over categories.

    Args:
        chances: of each category, adding up to 1.
        table: whether a category reasons; one that is missing does not.
        threshold: of the likeliest category, where entropy is medium.
    """
    entropy = normalised_entropy(list(chances.values()))
    ranked = sorted(chances.items(), key=lambda item: -item[1])
    top, chance = ranked[0]
    use_top = table.get(top, False)
    if entropy >= VERY_HIGH:
        return Reasoning(True, 0.3, entropy, "very_high")
    if entropy >= HIGH:
        vote = _vote(ranked[:2], table)
        return Reasoning(vote > 0.5, vote if vote > 0.5 else 1 - vote, entropy, "high")
    if entropy >= MEDIUM:
        if chance >= threshold:
            return Reasoning(use_top, 0.8 * chance, entropy, "medium_trusted")
        vote = _vote(ranked[:3], table)
        return Reasoning(vote > 0.5, vote if vote > 0.5 else 1 - vote, entropy, "medium_vote")
    if entropy >= LOW:
        return Reasoning(use_top, 0.9 * chance, entropy, "low")
    return Reasoning(use_top, 0.95 * chance, entropy, "very_low")


def _vote(ranked: Sequence[tuple[str, float]], table: Mapping[str, bool]) -> float:
    total = sum(chance for _, chance in ranked)
    return sum(chance for category, chance in ranked if table.get(category, False)) / total if total else 0.0


def decide_all(
    chances: Floats,
    categories: Sequence[str],
    table: Mapping[str, bool] = DEFAULT_TABLE,
    threshold: float = THRESHOLD,
) -> npt.NDArray[np.bool_]:
    """`decide` for many prompts.

    Args:
        chances: shape (rows, categories).
        categories: names of the columns.
        table: see `decide`.
        threshold: see `decide`.

    Returns:
        Shape (rows,): whether each reasons.
    """
    return np.array(
        [decide(dict(zip(categories, row, strict=True)), table, threshold).use for row in chances.tolist()],
        bool,
    )
