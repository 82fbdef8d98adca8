"""Jenga or vLLM's own groups, predicted from the model and the query's lengths: what `auto` does, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from spark_llm.jenga.pages import BLOCK_TOKENS, MIN_LARGE_PAGES, plan_pages
from spark_llm.jenga.waste import GROUPED, JENGA, waste

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spark_llm.jenga.specs import KVSpec
    from spark_llm.jenga.waste import Length

MIN_GAIN: Final = 0.05


@dataclass(frozen=True, slots=True)
class Choice:
    """An allocator for a model and its requests.

    Attributes:
        allocator: `waste.JENGA` or `waste.GROUPED`.
        gain: requests that fit beside those of vLLM's groups, as a share of them; negative where Jenga loses.
        reason: why, in a sentence that EXPLAIN can print.
    """

    allocator: str
    gain: float
    reason: str


def choose(
    specs: Sequence[KVSpec],
    lengths: Sequence[Length],
    memory_bytes: int,
    *,
    block_tokens: int = BLOCK_TOKENS,
    min_gain: float = MIN_GAIN,
) -> Choice:
    """Chooses the allocator.

    Args:
        specs: types of the model.
        lengths: lengths of the query's requests.
        memory_bytes: memory for keys, values and states.
        block_tokens: the engine's block.
        min_gain: least gain that is worth another allocator.

    Raises:
        ValueError: no specs, or no requests.
    """
    if len(specs) == 1:
        return Choice(GROUPED, 0.0, "all layers are alike: vLLM's pages waste nothing")
    plan = plan_pages(specs, block_tokens=block_tokens, memory_bytes=memory_bytes)
    ours = waste(specs, lengths, JENGA, block_tokens=block_tokens, memory_bytes=memory_bytes)
    theirs = waste(specs, lengths, GROUPED, block_tokens=block_tokens)
    pages = plan.large_pages(memory_bytes)
    # The first large page holds the engine's null blocks.
    usable_bytes = max(pages - 1, 0) * plan.large_bytes
    gain = (usable_bytes / ours.taken_bytes) / (memory_bytes / theirs.taken_bytes) - 1
    if pages < MIN_LARGE_PAGES:
        return Choice(
            GROUPED,
            gain,
            f"only {pages:,} large pages fit, {MIN_LARGE_PAGES} are needed to place types apart",
        )
    if gain <= min_gain:
        return Choice(
            GROUPED,
            gain,
            f"Jenga would fit {100 * gain:+.1f} % requests, less than {100 * min_gain:.0f} % more",
        )
    return Choice(JENGA, gain, f"{100 * gain:.1f} % more requests fit than in vLLM's groups")
