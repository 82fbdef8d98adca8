"""vLLM's own layout, computed without vLLM: one page size, groups of equally many layers.

    1 attention blocks grow until one covers a state; the state is padded to it
    2 smaller pages take more tokens per block, or are padded, until all are equal
    3 layers are cut into groups of as many as the rarest type has; the last group of a type is padded

    10 full, 52 windowed ──► 1 + 6 groups of 10, 8 layers of padding

Source: vLLM 0.32, `_align_hybrid_block_size`, `unify_kv_cache_spec_page_size` and
`_get_kv_cache_groups_uniform_page_size`; a contract test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from spark_llm.jenga.specs import KVSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

_MAX_SPREAD: Final = 1.5


@dataclass(frozen=True, slots=True)
class GroupedLayout:
    """Pages and groups; tuples are indexed by type.

    Attributes:
        specs: the types.
        block_tokens: tokens per block of each type; for states the attention block they are padded to.
        page_bytes: one page of one layer.
        groups: groups of each type.
        group_layers: layers of each group, padding included.
    """

    specs: tuple[KVSpec, ...]
    block_tokens: tuple[int, ...]
    page_bytes: int
    groups: tuple[int, ...]
    group_layers: int

    @property
    def block_bytes(self) -> int:
        """A block: one page of all layers of a group."""
        return self.page_bytes * self.group_layers

    @property
    def padding_layers(self) -> int:
        """Layers that exist only to make groups equal."""
        return sum(self.groups) * self.group_layers - sum(spec.layers for spec in self.specs)


def grouped_layout(specs: Sequence[KVSpec], block_tokens: int) -> GroupedLayout:
    """Returns the layout of vLLM's hybrid manager for a model.

    Raises:
        ValueError: no specs.
    """
    if not specs:
        raise ValueError("no layer keeps anything")
    widest = max(spec.token_bytes for spec in specs)
    state = max(spec.state_bytes for spec in specs)
    block = block_tokens
    if widest and state > block * widest:
        block = -(-state // (widest * block_tokens)) * block_tokens
    page = max(block * widest, state)
    blocks = tuple(
        block * (page // (block * spec.token_bytes))
        if spec.token_bytes and page % (block * spec.token_bytes) == 0
        else block
        for spec in specs
    )
    least, most = min(spec.layers for spec in specs), max(spec.layers for spec in specs)
    size = most if most < least * _MAX_SPREAD else least
    return GroupedLayout(tuple(specs), blocks, page, tuple(-(-spec.layers // size) for spec in specs), size)
