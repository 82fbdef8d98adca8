"""The two-level allocator: large pages of one size, each cut into small pages of one type.

    empty ──split──► of type t, associated with owner r ──all its small pages empty──► empty
                       small page:  used     a running row needs it
                                    cached   nobody needs it, but its content may be hit
                                    empty    a hole
                       a large page is evictable when none of its pages is used and some are cached

A small page of type t for owner r is the first of these that exists (arXiv 2503.18292, section 4.2):

  1 a hole in a large page that is associated with r
  2 an empty large page, which is split and associated with r
  3 the evictable large page with the lowest key, whatever its type: emptied, then as in 2
  4 any other hole of type t, first where the owner has gone
  5 the cached small page of type t with the lowest key

Small page i of type t lies in large page ``i // ratios[t]``. No operation looks at all pages: keys are in
heaps whose stale entries go when they surface or outnumber the others, the rest is counters and bags.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from heapq import heapify, heappop, heappush
from typing import Final

from spark_llm.jenga.bag import Bag

Key = tuple[float, float]
"""What a cached page is worth; the lowest leaves first. See `LayerPolicy.eviction_key`."""

EMPTY: Final = 0
CACHED: Final = 1
USED: Final = 2
_LOWEST: Final[Key] = (float("-inf"), float("-inf"))
_HEAP_SLACK: Final = 64

_Entry = tuple[float, float, int, int]
"""Of a heap: key, a number that is never used again, and the page; stale unless the page has the number."""


class OutOfPagesError(Exception):
    """No small page of the type is empty, and none can be emptied."""


class _Pages:
    """The small pages of one type."""

    __slots__ = (
        "cached", "heap", "holed", "holes", "keys", "loose", "ratio", "slots", "spare", "stamps", "state",
        "used",
    )  # fmt: skip

    def __init__(self, large_pages: int, ratio: int) -> None:
        self.ratio = ratio
        self.state = bytearray(large_pages * ratio)
        self.keys: list[Key] = [_LOWEST] * (large_pages * ratio)
        self.slots: dict[int, list[int]] = {}  # large page of the type -> its empty small pages
        self.holed = Bag()  # large pages with holes
        self.loose = Bag()  # those of them whose owner has gone
        self.holes: dict[Hashable, Bag] = {}  # the others, by owner
        self.stamps = [0] * (large_pages * ratio)  # of cached pages, else 0
        self.heap: list[_Entry] = []  # cached small pages, and stale entries
        self.used = self.cached = 0
        self.spare = 0  # small pages that are not used, in large pages of which some are


class LcmPool:
    """Small pages of several types out of equal large pages.

    Args:
        large_pages: how many there are.
        ratios: small pages per large page, by type.
        reserved: large pages at the front that are never given out, such as the one whose first small pages
            are an engine's null blocks.
        on_evict: called with type and small page when the pool drops cached content.

    Raises:
        ValueError: no types, or more reserved than there are.
    """

    def __init__(
        self,
        large_pages: int,
        ratios: Sequence[int],
        *,
        reserved: int = 0,
        on_evict: Callable[[int, int], None] | None = None,
    ) -> None:
        if not ratios or min(ratios) < 1 or not 0 <= reserved <= large_pages:
            raise ValueError(
                f"{large_pages} large pages, {reserved} of them reserved, ratios {tuple(ratios)}"
            )
        self.large_pages, self.reserved, self.ratios = large_pages, reserved, tuple(ratios)
        self._on_evict = on_evict
        self._types = [_Pages(large_pages, ratio) for ratio in ratios]
        self._kind = [-1] * large_pages
        self._owner: list[Hashable] = [None] * large_pages
        self._used = [0] * large_pages
        self._cached = [0] * large_pages
        self._stamps = [0] * large_pages  # of evictable pages, else 0
        self._stamp = 0
        self._owners: set[Hashable] = set()
        self._free = list(range(large_pages - 1, reserved - 1, -1))
        self._heap: list[_Entry] = []  # evictable large pages, and stale entries
        self._evictable = 0

    @property
    def free_large_pages(self) -> int:
        """Large pages that are empty or evictable."""
        return len(self._free) + self._evictable

    def free_pages(self, kind: int) -> int:
        """Small pages of a type that could be had if no other type took any."""
        return self._types[kind].spare + self.free_large_pages * self.ratios[kind]

    def used_pages(self, kind: int) -> int:
        """Small pages of a type that are in use."""
        return self._types[kind].used

    def cached_pages(self, kind: int) -> int:
        """Small pages of a type that nobody uses and that may be hit."""
        return self._types[kind].cached

    def state(self, kind: int, page: int) -> int:
        """`EMPTY`, `CACHED` or `USED`."""
        return self._types[kind].state[page]

    def quotas(self, needs: Sequence[int], hits: Iterable[tuple[int, int]] = ()) -> tuple[int, ...] | None:
        """Large pages that each type may take so that all needs are met, or None when they cannot be.

        As many as the needs would fill if there are enough, so that owners stay apart; else as few as the
        holes in other large pages allow.

        Args:
            needs: new small pages, by type.
            hits: type and small page of cached pages that will be used beside them.
        """
        available = self.free_large_pages
        local = [t.spare for t in self._types]
        pinned = set()
        for kind, page in hits:
            large = page // self.ratios[kind]
            local[kind] -= 1
            if not self._used[large] and large not in pinned:
                pinned.add(large)
                local[kind] += self.ratios[kind]
                available -= 1
        most = [-(-need // ratio) for need, ratio in zip(needs, self.ratios, strict=True)]
        if sum(most) <= available:
            return tuple(most)
        least = [
            -(-max(need - at_hand, 0) // ratio)
            for need, at_hand, ratio in zip(needs, local, self.ratios, strict=True)
        ]
        return tuple(least) if sum(least) <= available else None

    def allocate_all(self, needs: Sequence[int], owners: Sequence[Hashable]) -> list[list[int]]:
        """Small pages of all types at once, used from now on; all that are needed or none.

        Args:
            needs: small pages, by type.
            owners: with whom new large pages are associated, by type (see `association`).

        Raises:
            OutOfPagesError: `quotas` is None for these needs; nothing was taken.
        """
        quotas = self.quotas(needs)
        if quotas is None:
            raise OutOfPagesError(
                f"{tuple(needs)} small pages wanted by type; {self.free_large_pages} large pages and "
                f"{tuple(t.spare for t in self._types)} small ones are free"
            )
        found: list[list[int]] = []
        # Large pages first for every type: holes that one type takes below may make them unavailable.
        for kind, (need, quota, owner) in enumerate(zip(needs, quotas, owners, strict=True)):
            pages: list[int] = []
            found.append(pages)
            left = quota
            while len(pages) < need:
                large = self._own_hole(kind, owner)
                if large < 0 or not self._used[large]:
                    # To use a hole of an evictable page is to take that large page from the others.
                    if not left:
                        break
                    left -= 1
                    large = large if large >= 0 else self._take_large(kind, owner)
                pages.append(self._use_hole(kind, large))
        for kind, (need, pages) in enumerate(zip(needs, found, strict=True)):
            while len(pages) < need:
                pages.append(self._scattered(kind))
        return found

    def allocate(self, kind: int, owner: Hashable = None) -> int:
        """One small page, used from now on, by the five steps.

        Args:
            kind: its type.
            owner: with whom a new large page is associated; None takes holes that nobody else will.

        Raises:
            OutOfPagesError: there is none.
        """
        large = self._own_hole(kind, owner)
        if large < 0 and (self._free or self._evictable):
            large = self._take_large(kind, owner)
        return self._use_hole(kind, large) if large >= 0 else self._scattered(kind)

    def use(self, kind: int, page: int) -> None:
        """A cached page is hit: it is used from now on.

        Raises:
            ValueError: the page is not cached.
        """
        t = self._types[kind]
        self._expect(t, page, CACHED)
        t.state[page] = USED
        t.keys[page] = _LOWEST
        t.stamps[page] = 0
        t.cached -= 1
        large = page // t.ratio
        if not self._used[large]:
            self._evictable -= 1
        self._cached[large] -= 1
        self._pin(t, large)

    def free(self, kind: int, page: int, key: Key | None = None) -> None:
        """A used page is needed no more.

        Args:
            kind: its type.
            page: its number.
            key: what its content is worth; None when nothing can be hit there, which makes it empty.

        Raises:
            ValueError: the page is not used.
        """
        t = self._types[kind]
        self._expect(t, page, USED)
        large = page // t.ratio
        t.used -= 1
        self._used[large] -= 1
        if key is None:
            t.state[page] = EMPTY
            self._add_hole(t, large, page)
        else:
            t.state[page] = CACHED
            t.keys[page] = key
            t.cached += 1
            self._cached[large] += 1
            self._stamp += 1
            t.stamps[page] = self._stamp
            _push(t.heap, key, self._stamp, page, t.stamps, t.cached)
        if self._used[large]:
            t.spare += 1
        else:
            t.spare -= t.ratio - 1
            if self._cached[large]:
                self._evictable += 1
            self._settle(t, large)

    def drop(self, kind: int, page: int) -> None:
        """A cached page will never be hit again: it is empty from now on. `on_evict` is not called.

        Raises:
            ValueError: the page is not cached.
        """
        t = self._types[kind]
        self._expect(t, page, CACHED)
        self._forget(t, page)
        large = page // t.ratio
        self._add_hole(t, large, page)
        if not self._used[large]:
            if not self._cached[large]:
                self._evictable -= 1
            self._settle(t, large)

    def release(self, owner: Hashable) -> None:
        """The owner has ended: holes in its large pages are anyone's."""
        self._owners.discard(owner)
        for t in self._types:
            for large in t.holes.pop(owner, ()):
                t.loose.add(large)

    # ------------------------------------------------------------------------------- steps 1 to 5

    def _own_hole(self, kind: int, owner: Hashable) -> int:
        t = self._types[kind]
        bag = t.loose if owner is None else t.holes.get(owner)
        return bag.any() if bag else -1

    def _take_large(self, kind: int, owner: Hashable) -> int:
        if not self._free:
            while True:
                _, _, stamp, large = heappop(self._heap)
                if self._stamps[large] == stamp:
                    break
            self._empty_large(large)
        large = self._free.pop()
        t = self._types[kind]
        self._kind[large], self._owner[large] = kind, owner
        if owner is not None:
            self._owners.add(owner)
        t.slots[large] = list(range((large + 1) * t.ratio - 1, large * t.ratio - 1, -1))
        self._first_hole(t, large)
        return large

    def _use_hole(self, kind: int, large: int) -> int:
        t = self._types[kind]
        slots = t.slots[large]
        page = slots.pop()
        if not slots:
            self._no_holes(t, large)
        t.state[page] = USED
        if not self._used[large] and self._cached[large]:
            self._evictable -= 1
        self._pin(t, large)
        return page

    def _scattered(self, kind: int) -> int:
        t = self._types[kind]
        if t.holed:
            return self._use_hole(kind, t.loose.any() if t.loose else t.holed.any())
        while t.heap:
            _, _, stamp, page = heappop(t.heap)
            if t.stamps[page] == stamp:
                self._evict(kind, page)
                large = page // t.ratio
                if not self._used[large]:
                    self._evictable -= 1
                t.state[page] = USED
                self._pin(t, large)
                return page
        raise OutOfPagesError(f"no small page of type {kind} is free, of {self.large_pages} large pages")

    # ------------------------------------------------------------------------------- bookkeeping

    @staticmethod
    def _expect(t: _Pages, page: int, state: int) -> None:
        if t.state[page] != state:
            names = ("empty", "cached", "used")
            raise ValueError(f"small page {page} is {names[t.state[page]]}, expected {names[state]}")

    def _pin(self, t: _Pages, large: int) -> None:
        """Counts one more used page of a large page."""
        t.used += 1
        self._used[large] += 1
        if self._used[large] > 1:
            t.spare -= 1
        else:
            t.spare += t.ratio - 1
            self._stamps[large] = 0

    def _add_hole(self, t: _Pages, large: int, page: int) -> None:
        slots = t.slots.get(large)
        if slots is None:
            t.slots[large] = [page]
            self._first_hole(t, large)
        else:
            slots.append(page)

    def _first_hole(self, t: _Pages, large: int) -> None:
        t.holed.add(large)
        owner = self._owner[large]
        if owner in self._owners:
            bag = t.holes.get(owner)
            if bag is None:
                bag = t.holes[owner] = Bag()
            bag.add(large)
        else:
            t.loose.add(large)

    def _no_holes(self, t: _Pages, large: int) -> None:
        del t.slots[large]
        t.holed.discard(large)
        if large in t.loose:
            t.loose.discard(large)
            return
        owner = self._owner[large]
        bag = t.holes[owner]
        bag.discard(large)
        if not bag:
            del t.holes[owner]

    def _settle(self, t: _Pages, large: int) -> None:
        """A large page without used pages: back to the empty ones, or among the evictable ones."""
        if not self._cached[large]:
            self._no_holes(t, large)
            self._kind[large], self._owner[large], self._stamps[large] = -1, None, 0
            self._free.append(large)
            return
        key = max(t.keys[large * t.ratio : (large + 1) * t.ratio])
        self._stamp += 1
        self._stamps[large] = self._stamp
        _push(self._heap, key, self._stamp, large, self._stamps, self._evictable)

    def _empty_large(self, large: int) -> None:
        kind = self._kind[large]
        t = self._types[kind]
        for page in range(large * t.ratio, (large + 1) * t.ratio):
            if t.state[page] == CACHED:
                self._evict(kind, page)
                self._add_hole(t, large, page)
        self._evictable -= 1
        self._settle(t, large)

    def _evict(self, kind: int, page: int) -> None:
        if self._on_evict is not None:
            self._on_evict(kind, page)
        self._forget(self._types[kind], page)

    def _forget(self, t: _Pages, page: int) -> None:
        t.state[page] = EMPTY
        t.keys[page] = _LOWEST
        t.stamps[page] = 0
        t.cached -= 1
        self._cached[page // t.ratio] -= 1


def _push(heap: list[_Entry], key: Key, stamp: int, page: int, stamps: list[int], live: int) -> None:
    """Adds an entry; drops stale ones once they outnumber the others, which takes as long as adding did."""
    heappush(heap, (*key, stamp, page))
    if len(heap) > 2 * live + _HEAP_SLACK:
        heap[:] = [entry for entry in heap if stamps[entry[3]] == entry[2]]
        heapify(heap)
