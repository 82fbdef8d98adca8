"""Per layer type: which pages a request needs now, which prefixes hit, and what leaves first.

    full            |0|1|2|3|4|5|     all pages; a prefix hits up to the first miss
    sliding_window        |3|4|5|     the last window - 1 tokens; any end with that many hits before it
    chunked                 |4|5|     the current chunk; any end whose chunk is there
    state_space               |5|     the last state; the ends where a state was stored
    cross_attention |i|i|  |j|j|      whole images; ends before the first image that is missing
    encoder_cache          |j|j|      images whose text is not yet computed; no end is ruled out

A prefix hits if every type can resume there: `longest_prefix` is the longest end all of them allow. Source:
arXiv 2503.18292, section 5; token ranges as `get_num_skipped_tokens` of vLLM's single-type managers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from spark_llm.jenga.specs import IMAGE, KVSpec, LayerType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spark_llm.jenga.pool import Key


@dataclass(frozen=True, slots=True)
class Image:
    """An image of a request.

    Attributes:
        offset_tokens: text tokens before it.
        pages: small pages that its tokens take.
    """

    offset_tokens: int
    pages: int


class LayerPolicy(Protocol):
    """What the cache must know of a layer type. Pages of a request are numbered from 0 in token order."""

    def active_pages(self, computed_tokens: int) -> range:
        """Pages the next token needs when so many tokens are computed, those that hold them included."""

    def possible_prefix(self, hits: Sequence[bool], offsets: Sequence[int]) -> list[bool]:
        """Whether a request may resume at each offset, in text tokens.

        Args:
            hits: whether each page of the request is cached; pages beyond its end are not.
            offsets: candidates, multiples of the page's tokens.
        """

    def eviction_key(self, last_access: float, page: int) -> Key:
        """What a cached page is worth; the lowest leaves first.

        The same access gives the same first number in all types, and the second falls with the tokens before
        the page, so that all types of one prefix leave together, its end first (balanced eviction).
        """


@dataclass(frozen=True, slots=True)
class TokenPolicy:
    """Types whose pages follow the text.

    Args:
        spec: the type.
        block_tokens: tokens per page; of a state, the distance of the places where one may be stored.
    """

    spec: KVSpec
    block_tokens: int

    def first_token(self, computed_tokens: int) -> int:
        """First token that the next one still needs."""
        window = self.spec.window_tokens
        match self.spec.type:
            case LayerType.SLIDING_WINDOW:
                return max(0, computed_tokens - window + 1)
            case LayerType.CHUNKED:
                return computed_tokens // window * window
            case LayerType.STATE_SPACE:
                return max(0, computed_tokens - 1)
            case _:
                return 0

    def active_pages(self, computed_tokens: int) -> range:
        """As `LayerPolicy.active_pages`."""
        first = self.first_token(computed_tokens) // self.block_tokens
        return range(first, -(-computed_tokens // self.block_tokens))

    def peak_pages(self, tokens: int) -> int:
        """Most pages a request of so many tokens needs at a time while it is computed token by token."""
        pages, window = -(-tokens // self.block_tokens), self.spec.window_tokens
        match self.spec.type:
            case LayerType.SLIDING_WINDOW:
                return min(pages, -(-(window - 1) // self.block_tokens) + 1)
            case LayerType.CHUNKED:
                return min(pages, -(-window // self.block_tokens))
            case LayerType.STATE_SPACE:
                return self.spec.states
            case _:
                return pages

    def possible_prefix(self, hits: Sequence[bool], offsets: Sequence[int]) -> list[bool]:
        """As `LayerPolicy.possible_prefix`."""
        run, runs = 0, [0]
        for hit in hits:
            run = run + 1 if hit else 0
            runs.append(run)
        return [
            end <= len(hits) and runs[end] >= end - self.first_token(offset) // self.block_tokens
            for offset in offsets
            for end in (offset // self.block_tokens,)
        ]

    def eviction_key(self, last_access: float, page: int) -> Key:
        """As `LayerPolicy.eviction_key`."""
        return last_access, -float((page + 1) * self.block_tokens)


@dataclass(frozen=True, slots=True)
class ImagePolicy:
    """Types whose pages follow the images: all pages of one come and go together.

    Differs from the paper: pages of an image share its place in the text as second key, not a random number.

    Args:
        spec: the type.
        images: the request's images, in text order.
    """

    spec: KVSpec
    images: tuple[Image, ...]

    def active_pages(self, computed_tokens: int) -> range:
        """As `LayerPolicy.active_pages`; embeddings are needed until their place in the text is computed."""
        pages = sum(image.pages for image in self.images)
        if self.spec.type is LayerType.CROSS_ATTENTION:
            return range(pages)
        done = sum(image.pages for image in self.images if image.offset_tokens < computed_tokens)
        return range(done, pages)

    def possible_prefix(self, hits: Sequence[bool], offsets: Sequence[int]) -> list[bool]:
        """As `LayerPolicy.possible_prefix`."""
        if self.spec.type is LayerType.ENCODER_CACHE:
            return [True] * len(offsets)
        at = 0
        for image in self.images:
            if not all(hits[at : at + image.pages]) or len(hits) < at + image.pages:
                return [offset <= image.offset_tokens for offset in offsets]
            at += image.pages
        return [True] * len(offsets)

    def eviction_key(self, last_access: float, page: int) -> Key:
        """As `LayerPolicy.eviction_key`."""
        at = 0
        for image in self.images:
            at += image.pages
            if page < at:
                return last_access, -float(image.offset_tokens)
        raise ValueError(f"page {page} of {at} pages of images")


def policy_of(spec: KVSpec, block_tokens: int, images: Sequence[Image] = ()) -> LayerPolicy:
    """Returns the policy of a type for a request."""
    return ImagePolicy(spec, tuple(images)) if spec.type in IMAGE else TokenPolicy(spec, block_tokens)


def longest_prefix(
    policies: Sequence[LayerPolicy], hits: Sequence[Sequence[bool]], offsets: Sequence[int]
) -> int:
    """Returns the longest offset at which all types can resume, 0 where there is none.

    Args:
        policies: by type.
        hits: whether each page is cached, by type.
        offsets: ascending candidates in text tokens, multiples of every type's page.
    """
    left = list(offsets)
    for policy, cached in zip(policies, hits, strict=True):
        allowed = policy.possible_prefix(cached, left)
        left = [offset for offset, ok in zip(left, allowed, strict=True) if ok]
    return left[-1] if left else 0
