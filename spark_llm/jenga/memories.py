"""KV memory of a simulated engine: blocks of one size that are only counted, or small pages of an `LcmPool`.

resize(request, pages by type)   frees what fell out of a window, takes what is new; False where it cannot
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol

from spark_llm.jenga.association import Association
from spark_llm.jenga.pages import PagePlan
from spark_llm.jenga.pool import LcmPool


class Memory(Protocol):
    """What the engine asks of a layout; the pages of a request are a range per type."""

    def fits(self, pages: Sequence[int]) -> bool:
        """Whether a new request with so many pages by type would fit."""

    def resize(self, request: int, pages: Sequence[range]) -> bool:
        """Makes these the pages of a request; False, with nothing taken, where there are too few."""

    def release(self, request: int) -> None:
        """The request has ended, or loses its pages."""

    def taken_share(self) -> float:
        """Share of the memory that is taken."""


class CountedBlocks:
    """Blocks of one size: nothing to place, so they are only counted.

    Args:
        blocks: how many there are.
        groups: blocks that a page of a type takes: the groups its layers were cut into.
    """

    def __init__(self, blocks: int, groups: Sequence[int]) -> None:
        self.blocks, self.free, self._groups = blocks, blocks, tuple(groups)
        self._held: dict[int, int] = {}

    def fits(self, pages: Sequence[int]) -> bool:
        """As `Memory.fits`."""
        return self._count(pages) <= self.free

    def resize(self, request: int, pages: Sequence[range]) -> bool:
        """As `Memory.resize`."""
        held, wanted = self._held.get(request, 0), self._count([len(span) for span in pages])
        if wanted - held > self.free:
            return False
        self.free += held - wanted
        self._held[request] = wanted
        return True

    def release(self, request: int) -> None:
        """As `Memory.release`."""
        self.free += self._held.pop(request, 0)

    def taken_share(self) -> float:
        """As `Memory.taken_share`."""
        return 1 - self.free / self.blocks

    def _count(self, pages: Sequence[int]) -> int:
        return sum(count * groups for count, groups in zip(pages, self._groups, strict=True))


class PooledPages:
    """Small pages of a `LcmPool`, associated as `Association` says.

    Args:
        plan: the pages.
        memory_bytes: what they share.
        expected_pages: pages of a typical request, by type.
    """

    def __init__(self, plan: PagePlan, memory_bytes: int, expected_pages: Sequence[float]) -> None:
        self.plan = plan
        self.pool = LcmPool(plan.large_pages(memory_bytes), plan.ratios, reserved=1)
        self._association = Association(plan.ratios, expected_pages)
        self._memory_bytes = memory_bytes
        self._held: dict[int, list[deque[int]]] = {}
        self._spans: dict[int, list[range]] = {}

    def fits(self, pages: Sequence[int]) -> bool:
        """As `Memory.fits`."""
        return self.pool.quotas(pages) is not None

    def resize(self, request: int, pages: Sequence[range]) -> bool:
        """As `Memory.resize`."""
        owners = self._association.admit(request)
        held = self._held.setdefault(request, [deque() for _ in pages])
        spans = self._spans.setdefault(request, [range(0)] * len(pages))
        needs = []
        for kind, (old, new) in enumerate(zip(spans, pages, strict=True)):
            while held[kind] and old.start < new.start:
                self.pool.free(kind, held[kind].popleft())
                old = range(old.start + 1, old.stop)  # noqa: PLW2901  the window moves page by page
            first = old.start if held[kind] else new.start
            spans[kind] = range(first, first + len(held[kind]))
            needs.append(max(new.stop - spans[kind].stop, 0))
        if any(needs):
            if self.pool.quotas(needs) is None:
                return False
            for kind, taken in enumerate(self.pool.allocate_all(needs, owners)):
                held[kind].extend(taken)
                spans[kind] = range(spans[kind].start, spans[kind].stop + len(taken))
        return True

    def release(self, request: int) -> None:
        """As `Memory.release`."""
        if request not in self._held:
            return
        for kind, pages in enumerate(self._held.pop(request)):
            for page in pages:
                self.pool.free(kind, page)
        del self._spans[request]
        self._association.finish(request, self.pool)

    def used_bytes(self) -> int:
        """Bytes of the small pages in use."""
        return sum(self.pool.used_pages(kind) * small for kind, small in enumerate(self.plan.small_bytes))

    def taken_share(self) -> float:
        """As `Memory.taken_share`."""
        return self.used_bytes() / self._memory_bytes
