"""What each type of layer keeps per request, in bytes; the input of every layout.

full            ████████████████   every token so far
sliding_window          ████████   the last window_tokens - 1 tokens
chunked                     ████   the tokens of the current chunk of window_tokens
state_space                    ●   one state, and one at the last place a prefix may be resumed
cross_attention ▒▒▒▒▒▒             the tokens of the images (or of the encoder), never of the text
encoder_cache   ▒▒▒▒▒▒             embeddings of images that are not yet consumed
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from math import gcd
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class LayerType(enum.StrEnum):
    """How a layer uses what came before; the names are those of the reports."""

    FULL = "full"
    SLIDING_WINDOW = "sliding_window"
    CHUNKED = "chunked"
    STATE_SPACE = "state_space"
    CROSS_ATTENTION = "cross_attention"
    ENCODER_CACHE = "encoder_cache"


WINDOWED = frozenset({LayerType.SLIDING_WINDOW, LayerType.CHUNKED})
IMAGE = frozenset({LayerType.CROSS_ATTENTION, LayerType.ENCODER_CACHE})


@dataclass(frozen=True, slots=True)
class KVSpec:
    """Layers of one type and one shape; they share a block table.

    Attributes:
        type: how the layers use the past.
        layers: how many of them.
        token_bytes: bytes of one token in one layer, keys and values; 0 for states.
        state_bytes: bytes of one state of one layer; 0 for layers that keep tokens.
        window_tokens: window or chunk; 0 where there is none.
        states: states of a request at a time: the running one and the last checkpoint.

    Raises:
        ValueError: sizes that do not go with the type.
    """

    type: LayerType
    layers: int
    token_bytes: int = 0
    state_bytes: int = 0
    window_tokens: int = 0
    states: int = 2

    def __post_init__(self) -> None:
        is_state = self.type is LayerType.STATE_SPACE
        if self.layers < 1:
            raise ValueError(f"{self.type}: {self.layers} layers, expected at least 1")
        if is_state != (self.state_bytes > 0) or is_state == (self.token_bytes > 0):
            raise ValueError(
                f"{self.type}: {self.token_bytes} bytes per token and {self.state_bytes} per state, "
                f"expected only the {'state' if is_state else 'token'} above 0"
            )
        if (self.type in WINDOWED) != (self.window_tokens > 0):
            raise ValueError(f"{self.type}: a window of {self.window_tokens} tokens")

    @property
    def unit_bytes(self) -> int:
        """Bytes in one layer of what a page counts: a token, or a state."""
        return self.token_bytes or self.state_bytes

    def needed_tokens(self, text_tokens: int, image_tokens: int = 0) -> int:
        """Tokens of a request that the layers still need when all of it is computed; 0 for states."""
        if self.type is LayerType.STATE_SPACE:
            return 0
        if self.type in IMAGE:
            return image_tokens
        return min(text_tokens, self.window_tokens or text_tokens)

    def needed_bytes(self, text_tokens: int, image_tokens: int = 0) -> int:
        """Bytes of a request that the layers still need, without pages and padding."""
        if self.type is LayerType.STATE_SPACE:
            return self.layers * self.states * self.state_bytes
        return self.layers * self.token_bytes * self.needed_tokens(text_tokens, image_tokens)


def merged(specs: Sequence[KVSpec]) -> tuple[KVSpec, ...]:
    """Returns one spec per type and shape, in order of first appearance; layer counts add up."""
    layers: dict[KVSpec, int] = {}
    for spec in specs:
        shape = replace(spec, layers=1)
        layers[shape] = layers.get(shape, 0) + spec.layers
    return tuple(replace(shape, layers=count) for shape, count in layers.items())


def split_evenly(specs: Sequence[KVSpec]) -> tuple[KVSpec, ...]:
    """Cuts each spec into groups of as many layers as all counts have in common.

    ``7 windowed + 4 full -> 7 × 1 windowed + 4 × 1 full``: the large page shrinks from 28 layers to 1 at the
    price of 11 block tables, for pools that would otherwise hold too few large pages.
    """
    common = gcd(*(spec.layers for spec in specs))
    return tuple(replace(spec, layers=common) for spec in specs for _ in range(spec.layers // common))
