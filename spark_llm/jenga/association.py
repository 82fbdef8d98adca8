"""With whom a large page is associated: with one request, or with a wave of requests admitted together.

    many pages per request    |r1 r1 r1 r1|r1 r1  · |r2 r2 r2 r2|     by request: a large page empties with it
    few pages per request     |r1 r2 r3 r4|r5 r6 r7 r8|               by wave: no large page for each of them

Rule: by request where it is expected to fill a large page, else by wave; chosen for each type by itself. A
wave has as many requests as fill `WAVE_LARGE_PAGES`, so that few large pages are left half empty.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from spark_llm.jenga.pool import LcmPool


WAVE_LARGE_PAGES: Final = 16


class Association:
    """Owners for `LcmPool`, by type.

    Args:
        ratios: small pages per large page, by type.
        expected_pages: small pages that a request will need, by type.
        wave_large_pages: large pages that a wave is to fill.
    """

    def __init__(
        self,
        ratios: Sequence[int],
        expected_pages: Sequence[float],
        wave_large_pages: int = WAVE_LARGE_PAGES,
    ) -> None:
        self.by_request = tuple(pages >= ratio for ratio, pages in zip(ratios, expected_pages, strict=True))
        needed = [
            -(-wave_large_pages * ratio // max(pages, 1.0))
            for ratio, pages, alone in zip(ratios, expected_pages, self.by_request, strict=True)
            if not alone
        ]
        self.wave_rows = int(max(needed, default=1))
        self._wave = 0
        self._room = self.wave_rows
        self._of: dict[Hashable, int] = {}
        self._running: dict[int, int] = {}

    def admit(self, request: Hashable) -> list[Hashable]:
        """A request begins; returns its owners by type. Idempotent while it runs."""
        wave = self._of.get(request)
        if wave is None:
            if not self._room:
                self._wave += 1
                self._room = self.wave_rows
            wave = self._of[request] = self._wave
            self._room -= 1
            self._running[wave] = self._running.get(wave, 0) + 1
        return [("request", request) if alone else ("wave", wave) for alone in self.by_request]

    def finish(self, request: Hashable, pool: LcmPool) -> None:
        """A request has ended, its pages are freed: its owner goes, and its wave with the last of them."""
        wave = self._of.pop(request)
        pool.release(("request", request))
        self._running[wave] -= 1
        if not self._running[wave]:
            del self._running[wave]
            pool.release(("wave", wave))
