"""Scoring of answers: what is measured for a task, the bounds it must keep, the table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Final, TypedDict

from spark_llm.demo.example import Example, user_message

Ask = Callable[[list[str], bool], list[str]]
"""From user messages, and whether to think, to answers."""

GATES: Final[dict[str, tuple[str, float]]] = {
    "filter": ("at least", 0.95),
    "labels": ("at least", 0.95),
    "extract": ("at least", 0.95),
    "arithmetic, thinking": ("at least", 0.90),
    "arithmetic, direct": ("at most", 0.60),
}


class Line(TypedDict):
    """One line of the accuracy table; both rates lie between 0 and 1."""

    task: str
    rows: int
    accuracy: float
    changed_by_field_order: float | None
    gate: str
    passed: bool | None


def reordered(example: Example, rng: Random) -> str:
    """Return the user message of an example with its row's fields in another order.

    Args:
        example: An example whose row has two fields or more.
        rng: Source of randomness.

    Returns:
        The same instruction and fields; the order differs from the example's.
    """
    items = list(example.row.items())
    while (shuffled := rng.sample(items, len(items))) == items:
        pass
    return user_message(example.instruction, dict(shuffled))


def measure(ask: Ask, task: str, examples: list[Example], think: bool, seed: int) -> Line:
    """Measure one line of the table.

    Args:
        ask: The engine.
        task: Name of the line.
        examples: Held-out examples.
        think: Whether thinking is on.
        seed: Seed of the shuffled field orders.

    Returns:
        Exact-match accuracy over all examples, and over those with two or more fields
        the share whose answer changes when the fields are reordered.
    """
    answers = ask([example.user for example in examples], think)
    right = sum(a == e.answer for a, e in zip(answers, examples, strict=True))
    rng = Random(seed)
    several = [(a, e) for a, e in zip(answers, examples, strict=True) if len(e.row) > 1]
    again = ask([reordered(example, rng) for _, example in several], think)
    changed = sum(a != b for (a, _), b in zip(several, again, strict=True))
    accuracy = right / len(examples)
    gate, passed = "", None
    if task in GATES:
        word, bound = GATES[task]
        gate = f"{word} {bound:.0%}"
        passed = accuracy >= bound if word == "at least" else accuracy <= bound
    return {
        "task": task,
        "rows": len(examples),
        "accuracy": accuracy,
        "changed_by_field_order": changed / len(several) if several else None,
        "gate": gate,
        "passed": passed,
    }


def table(lines: Sequence[Line]) -> str:
    """Write the lines as a Markdown table."""
    out = ["| task | rows | accuracy | gate | answer changes with field order |"]
    out.append("|---|---|---|---|---|")
    for line in lines:
        changed = line["changed_by_field_order"]
        order = "" if changed is None else f"{changed:.1%}"
        cells = (line["task"], str(line["rows"]), f"{line['accuracy']:.1%}", line["gate"], order)
        out.append(f"| {' | '.join(cells)} |")
    return "\n".join(out)
