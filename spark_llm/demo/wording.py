"""Small pieces of wording that several questions share."""

from __future__ import annotations

from random import Random


def yes_no(truth: bool) -> str:
    """Return ``"Yes"`` or ``"No"``, the two answers of a filter."""
    return "Yes" if truth else "No"


def label_list(rng: Random, labels: tuple[str, ...], right: str) -> str:
    """Write a list of labels that holds the right one: random subset, random order.

    Args:
        rng: Source of randomness.
        labels: All labels of the task.
        right: The label that must be in the list.

    Returns:
        Two or more labels, ``"billing, delivery, account"``, at times with ``or``
        before the last one.
    """
    count = len(labels) if rng.random() < 0.4 else rng.randint(2, len(labels))
    chosen = [right, *rng.sample([label for label in labels if label != right], count - 1)]
    rng.shuffle(chosen)
    if rng.random() < 0.25:
        return ", ".join(chosen[:-1]) + " or " + chosen[-1]
    return ", ".join(chosen)
