r"""Sizes of small and large pages: `plan_pages`.

    small page of type t   units_t × unit_bytes_t × layers_t      16 tokens of all layers of the type, or
                                                                  one state of all of them
    large page             the least common multiple of the small pages

    256 and 384 bytes:     |- A -|- A -|- A -|      768 = LCM, 3 A or 2 B, nothing left over
                           |--- B ---|--- B ---|

Inside a small page the layers lie one after the other, so that the view of layer l has an offset of
``l × layer_page_bytes`` and a stride of one small page; kernels see pages as before.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm
from typing import TYPE_CHECKING, Final

from spark_llm.jenga.specs import KVSpec, LayerType, split_evenly

if TYPE_CHECKING:
    from collections.abc import Sequence

BLOCK_TOKENS: Final = 16
MAX_RATIO: Final = 128
MAX_PADDING: Final = 0.01
MIN_LARGE_PAGES: Final = 64
ALIGN_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class PagePlan:
    """Pages of a model; all tuples are indexed by type, in the order of `specs`.

    Attributes:
        specs: the types.
        block_tokens: tokens per small page; 1 for a state, which stands for all tokens before it.
        small_bytes: what a small page takes: its content, rounded up to `ALIGN_BYTES` per layer.
        large_bytes: a large page.
        ratios: small pages per large page.
    """

    specs: tuple[KVSpec, ...]
    block_tokens: tuple[int, ...]
    small_bytes: tuple[int, ...]
    large_bytes: int
    ratios: tuple[int, ...]

    @property
    def stride_bytes(self) -> tuple[int, ...]:
        """Bytes from one small page to the next: page i of a type begins at ``i × stride`` of all memory."""
        return tuple(self.large_bytes // ratio for ratio in self.ratios)

    @property
    def layer_bytes(self) -> tuple[int, ...]:
        """Bytes from one layer to the next inside a small page."""
        return tuple(small // spec.layers for small, spec in zip(self.small_bytes, self.specs, strict=True))

    @property
    def padding_bytes(self) -> tuple[int, ...]:
        """Bytes of a large page that no small page of the type covers; 0 for a true LCM."""
        return tuple(
            self.large_bytes - ratio * small
            for ratio, small in zip(self.ratios, self.small_bytes, strict=True)
        )

    @property
    def waste(self) -> float:
        """Largest share of a large page that is padding, at its end and inside its small pages."""
        needed = (
            ratio * spec.layers * spec.unit_bytes * tokens
            for ratio, spec, tokens in zip(self.ratios, self.specs, self.block_tokens, strict=True)
        )
        return 1 - min(needed) / self.large_bytes

    def large_pages(self, memory_bytes: int) -> int:
        """Large pages that fit."""
        return memory_bytes // self.large_bytes


def plan_pages(
    specs: Sequence[KVSpec],
    *,
    block_tokens: int = BLOCK_TOKENS,
    memory_bytes: int | None = None,
    max_ratio: int = MAX_RATIO,
    max_padding: float = MAX_PADDING,
) -> PagePlan:
    """Chooses the pages of a model.

    The large page is the LCM of the small pages while it holds at most ``max_ratio`` of the smallest. Beyond,
    it is about a multiple of the largest small page: the smallest that leaves at most ``max_padding`` of
    itself uncovered for every type. A state that is itself more than ``max_ratio`` token pages keeps such a
    ratio, and where no padding is small enough the LCM stays.

    Args:
        specs: types of the model, one each.
        block_tokens: tokens per small page of the types that keep tokens.
        memory_bytes: memory that the pages will share. Where fewer than `MIN_LARGE_PAGES` large pages would
            fit, layers are cut into equal groups (`split_evenly`) if that makes more of them.
        max_ratio: small pages per large page.
        max_padding: share of a large page.

    Raises:
        ValueError: no specs.

    Source: arXiv 2503.18292, section 4.1. Differs from the paper: the cap, and the groups for little memory.
    """
    if not specs:
        raise ValueError("no layer keeps anything: pages cannot be planned for an empty list of specs")
    plan = _plan(tuple(specs), block_tokens, max_ratio, max_padding)
    if memory_bytes is not None and plan.large_pages(memory_bytes) < MIN_LARGE_PAGES:
        groups = _plan(split_evenly(specs), block_tokens, max_ratio, max_padding)
        if groups.large_bytes < plan.large_bytes:
            return groups
    return plan


def _plan(specs: tuple[KVSpec, ...], block_tokens: int, max_ratio: int, max_padding: float) -> PagePlan:
    blocks = tuple(1 if spec.type is LayerType.STATE_SPACE else block_tokens for spec in specs)
    small = tuple(
        spec.layers * -(-spec.unit_bytes * tokens // ALIGN_BYTES) * ALIGN_BYTES
        for spec, tokens in zip(specs, blocks, strict=True)
    )
    large = lcm(*small)
    if large > max_ratio * min(small):
        padded = _padded(small, max_padding)
        if padded is not None:
            return PagePlan(specs, blocks, small, *padded)
    return PagePlan(specs, blocks, small, large, tuple(large // size for size in small))


def _padded(small: tuple[int, ...], max_padding: float) -> tuple[int, tuple[int, ...]] | None:
    """A large page that equal strides fill and that wastes little, with its ratios; None if there is none."""
    for times in range(1, round(4 / max_padding)):
        ratios = tuple(times * max(small) // size for size in small)
        unit = ALIGN_BYTES * lcm(*ratios)
        large = -(-times * max(small) // unit) * unit
        if all(
            large - ratio * size <= max_padding * large for ratio, size in zip(ratios, small, strict=True)
        ):
            return large, ratios
    return None
