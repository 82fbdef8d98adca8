"""What a request takes under each layout, and how many fit: the what-if report behind `spark-llm memory`.

needed     what the layers still use                   32·T + 8·I   of a vision model with 8 cross layers
all_full   every layer keeps every token               40·(T + I)
grouped    vLLM's groups, one page size (`grouped`)
jenga      small pages of each type (`pages`)

waste = 1 - needed / taken                 concurrency = memory / mean bytes per request
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from spark_llm.jenga.grouped import grouped_layout
from spark_llm.jenga.layers import TokenPolicy
from spark_llm.jenga.pages import BLOCK_TOKENS, plan_pages
from spark_llm.jenga.specs import IMAGE, KVSpec, LayerType

ALL_FULL: Final = "all_full"
GROUPED: Final = "grouped"
JENGA: Final = "jenga"
POLICIES: Final = (ALL_FULL, GROUPED, JENGA)


@dataclass(frozen=True, slots=True)
class Length:
    """Requests of one length.

    Attributes:
        text_tokens: prompt and answer.
        image_tokens: beside them.
        requests: how many there are.
    """

    text_tokens: int
    image_tokens: int = 0
    requests: int = 1


@dataclass(frozen=True, slots=True)
class Waste:
    """Memory under one layout.

    Attributes:
        policy: the layout.
        needed_bytes: per request, mean.
        taken_bytes: per request, mean.
    """

    policy: str
    needed_bytes: float
    taken_bytes: float

    @property
    def share(self) -> float:
        """Share of what is taken that no layer needs."""
        return 1 - self.needed_bytes / self.taken_bytes if self.taken_bytes else 0.0

    def concurrency(self, memory_bytes: int) -> int:
        """Requests that fit at a time."""
        return int(memory_bytes // self.taken_bytes) if self.taken_bytes else 0


def waste(
    specs: Sequence[KVSpec],
    lengths: Sequence[Length],
    policy: str,
    *,
    block_tokens: int = BLOCK_TOKENS,
    memory_bytes: int | None = None,
) -> Waste:
    """Returns what requests of these lengths take at their peak, when their last token is computed.

    Args:
        specs: types of the model.
        lengths: a histogram.
        policy: one of `POLICIES`.
        block_tokens: tokens per block before a layout changes them.
        memory_bytes: as in `plan_pages`.

    Raises:
        ValueError: an unknown policy, or no requests.
    """
    requests = sum(length.requests for length in lengths)
    if not requests:
        raise ValueError("no requests to count the memory of")
    taken = _LAYOUTS.get(policy)
    if taken is None:
        raise ValueError(f"policy {policy}: expected one of {', '.join(POLICIES)}")
    of = taken(specs, block_tokens, memory_bytes)
    needed = sum(
        at.requests * sum(spec.needed_bytes(at.text_tokens, at.image_tokens) for spec in specs)
        for at in lengths
    )
    return Waste(policy, needed / requests, sum(at.requests * of(at) for at in lengths) / requests)


def _all_full(
    specs: Sequence[KVSpec], block_tokens: int, _memory_bytes: int | None
) -> Callable[[Length], float]:
    def of(length: Length) -> float:
        tokens = _up(length.text_tokens + length.image_tokens, block_tokens) * block_tokens
        return sum(
            spec.layers * (spec.states * spec.state_bytes if spec.state_bytes else tokens * spec.token_bytes)
            for spec in specs
        )

    return of


def _grouped(
    specs: Sequence[KVSpec], block_tokens: int, _memory_bytes: int | None
) -> Callable[[Length], float]:
    layout = grouped_layout(specs, block_tokens)

    def of(length: Length) -> float:
        blocks = sum(
            groups * _pages(spec, tokens, length)
            for spec, tokens, groups in zip(layout.specs, layout.block_tokens, layout.groups, strict=True)
        )
        return blocks * layout.block_bytes

    return of


def _jenga(specs: Sequence[KVSpec], block_tokens: int, memory_bytes: int | None) -> Callable[[Length], float]:
    plan = plan_pages(specs, block_tokens=block_tokens, memory_bytes=memory_bytes)

    def of(length: Length) -> float:
        return sum(
            _pages(spec, tokens, length) * plan.large_bytes / ratio
            for spec, tokens, ratio in zip(plan.specs, plan.block_tokens, plan.ratios, strict=True)
        )

    return of


_LAYOUTS: Final = {ALL_FULL: _all_full, GROUPED: _grouped, JENGA: _jenga}


def _pages(spec: KVSpec, block_tokens: int, length: Length) -> int:
    if spec.type in IMAGE:
        return _up(length.image_tokens, block_tokens)
    if spec.type is LayerType.STATE_SPACE:
        return spec.states
    return TokenPolicy(spec, block_tokens).peak_pages(length.text_tokens)


def _up(tokens: int, block_tokens: int) -> int:
    return -(-tokens // block_tokens)
