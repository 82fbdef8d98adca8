"""How many layers may be away: grows while nothing is lost by it, shrinks at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from spark_llm.pie.layout import aways

if TYPE_CHECKING:
    from spark_llm.pie.ceiling import PassCost

WINDOW_PASSES: Final = 5
MAX_STALL_SHARE: Final = 0.05
"""More of a window waited for copies, and it shrinks."""
SLACK: Final = 0.04
"""Of a pass, that copies shall leave when it grows."""
MIN_RATE: Final = 0.98
"""Of the rows per second before it grew; with less it goes back."""
RATE_WINDOWS: Final = 3
"""Whose mean rate is compared."""
CHANGED: Final = 0.25
"""A measured time this far from the average is a new state of the machine, not noise."""
_WEIGHT: Final = 0.25
_HOLD_WINDOWS: Final = 8


@dataclass(frozen=True, slots=True)
class Window:
    """What an engine measured over some forward passes.

    Attributes:
        passes: how many.
        seconds: of them, stalls included.
        stall_s: waited for copies.
        rows: answered, or tokens decoded: what is to be more per second.
        copies: layers that came in.
        copy_s: that the inbound stream was busy, in all (of event pairs on a GPU).
        stalls: layers that had to be waited for.
        moved_bytes: both ways.
    """

    passes: int
    seconds: float
    stall_s: float
    rows: float
    copies: int
    copy_s: float
    stalls: int = 0
    moved_bytes: float = 0.0

    @property
    def stall_share(self) -> float:
        """Share of the time waited for copies."""
        return self.stall_s / self.seconds if self.seconds > 0 else 0.0

    @property
    def rows_per_s(self) -> float:
        """Rows per second."""
        return self.rows / self.seconds if self.seconds > 0 else 0.0


class Ratio:
    """A measured time over the predicted one, averaged, that follows a jump at once."""

    def __init__(self) -> None:
        self.value = 1.0
        self.known = False
        self._odd = False

    def observe(self, measured_s: float, predicted_s: float) -> None:
        """Takes a measurement; the second in a row that is far off replaces the average."""
        ratio = measured_s / predicted_s
        odd = abs(ratio / self.value - 1) > CHANGED
        if not self.known or (odd and self._odd):
            self.value, self.known, odd = ratio, True, False
        elif not odd:
            self.value += _WEIGHT * (ratio - self.value)
        self._odd = odd


class ExpansionController:
    """Chooses the layers away for the next window, from measured copy, compute and stall times.

    The cost model says how both change with the layers away, measurement what they are now. It starts with
    one layer away where the model says that some fit: from then on copies are measured.

    Source: Pie (arXiv 2411.09317), adaptive expansion, by a public re-implementation: one layer less when over a
    tenth of the layers stalled, one more when the link was idle half of the time and throughput was kept.
    Differs from the paper: it goes to where the measured times say that copies fit, the criterion is the
    time waited and the rows per second, and after a growth that lost rows it waits before it tries again,
    longer each time.

    Args:
        cost: model of the engine's passes.
        away: to begin with.
        limit: most layers away: host memory, or a layout that cannot change; None: what slots leave.
    """

    def __init__(self, cost: PassCost, away: int = 0, limit: int | None = None) -> None:
        most = aways(cost.layers, cost.slots)[-1]
        self.cost = cost
        self.limit = most if limit is None else min(limit, most)
        self.away = min(max(away, 0), self.limit)
        self.compute, self.copy = Ratio(), Ratio()
        self._rates: list[float] = []
        self._before: tuple[int, float] | None = None
        self._held = 0
        self._hold_windows = _HOLD_WINDOWS
        self._held_limit = self.limit

    def update(self, window: Window) -> int:
        """Takes a window with `away` layers away; returns the layers away for the next."""
        if window.passes < 1 or window.seconds <= 0:
            return self.away
        self._measure(window)
        self._rates.append(window.rows_per_s)
        self._held = max(self._held - 1, 0)
        if not self._held:
            self._held_limit = self.limit
        fits = self._fits(slack=0.0)
        if window.stall_share > MAX_STALL_SHARE:
            # Copies that fit by their times stall by their order or by noise: one less is tried.
            self._go(min(self.away - 1, fits))
        elif self._lost_rate():
            self._hold(self.away - 1)
            assert self._before is not None
            self._go(min(self._before[0], self.away - 1))
        else:
            target = min(self._fits(slack=SLACK), self._held_limit)
            if target > self.away:
                self._grow(target if self.copy.known else min(target, self.away + 1))
        return self.away

    def _measure(self, window: Window) -> None:
        compute_s = (window.seconds - window.stall_s) / window.passes
        self.compute.observe(compute_s, self.cost.compute_s(self.away))
        if window.copies:
            per_pass = self.away + self.cost.slots
            predicted_s = self.cost.copy_s(self.away) / per_pass
            self.copy.observe(window.copy_s / window.copies, predicted_s)

    def _fits(self, slack: float) -> int:
        """Most layers away whose copies take no longer than a pass, less the slack."""
        best = 0
        for away in range(1, self.limit + 1):
            copy_s = self.cost.copy_s(away) * self.copy.value
            if copy_s > (1 - slack) * self.cost.compute_s(away) * self.compute.value:
                break
            best = away
        return best

    def _lost_rate(self) -> bool:
        if self._before is None or len(self._rates) < RATE_WINDOWS:
            return False
        rate = sum(self._rates[-RATE_WINDOWS:]) / RATE_WINDOWS
        return rate < MIN_RATE * self._before[1]

    def _hold(self, limit: int) -> None:
        self._held, self._held_limit = self._hold_windows, max(limit, 0)
        self._hold_windows *= 2

    def _grow(self, away: int) -> None:
        recent = self._rates[-RATE_WINDOWS:]
        before = (self.away, sum(recent) / len(recent))
        self._go(away)
        self._before = before

    def _go(self, away: int) -> None:
        self.away = min(max(away, 0), self.limit)
        self._rates.clear()
        self._before = None
