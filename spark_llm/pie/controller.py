"""How many layers may be away: grows while nothing is lost by it, shrinks at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from spark_llm.pie.ceiling import PassCost

WINDOW_PASSES: Final = 5
MAX_STALL_SHARE: Final = 0.05
"""More of a window waited for copies, and it shrinks."""
MIN_RATE: Final = 0.98
"""Of the rows per second before it grew; with less, beyond noise, it goes back."""
WORTH: Final = 1.001
"""Predicted gain for which it goes to another number of layers."""
RATE_WINDOWS: Final = 4
"""Whose mean rate is compared."""
CHANGED: Final = 0.25
"""A measured time this far from the average is a new state of the machine, not noise."""
_WEIGHT: Final = 0.2
_HOLD_WINDOWS: Final = 8
_PRIOR_SPREAD: Final = 0.03
# Slots carry layers over the border of two passes, so that a short pass waits less than its variation says:
# fitted to the simulated engine.
_NOT_EVENED: Final = 0.8


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
    """A measured time over the predicted one, averaged, that follows a jump at once.

    Attributes:
        value: the average; 1 before the first measurement.
        known: something was measured.
        variance: of single measurements around it.
    """

    def __init__(self) -> None:
        self.value = 1.0
        self.known = False
        self.variance = 0.0
        self._count = 0
        self._odd = False

    def observe(self, measured_s: float, predicted_s: float) -> None:
        """Takes a measurement; the second in a row that is far off replaces the average."""
        ratio = measured_s / predicted_s
        odd = abs(ratio / self.value - 1) > CHANGED
        if not self.known or (odd and self._odd):
            self.value, self.known, self._count, odd = ratio, True, 1, False
        elif not odd:
            self._count += 1
            # A plain mean at first, then one that forgets.
            weight = max(1 / self._count, _WEIGHT / 2)
            off = ratio - self.value
            self.value += weight * off
            self.variance += weight * (off * off - self.variance)
        self._odd = odd


class ExpansionController:
    """Chooses the layers away for the next window, from measured copy, compute and stall times.

    The cost model says how both change with the layers away, measurement what they are now, and how much they
    vary from pass to pass: a pass that is shorter than its copies waits. It goes to the number of layers with
    most rows per second by that; where copies were never measured to the smallest number first.

    Source: Pie (arXiv 2411.09317), adaptive expansion, by a public re-implementation: one layer less when
    over a tenth of the layers stalled, one more when the link was idle half of the time and throughput was
    kept. Differs from the paper: the steps, which are as long as measured times say; the criteria, which are
    the time waited and the rows per second; and after a growth that lost rows it waits before it tries
    again, longer each time.

    Args:
        cost: model of the engine's passes.
        away: to begin with.
        limit: most layers away: host memory, or a layout that cannot change; None: what slots leave.

    Attributes:
        away: layers for the next window.
        compute: measured over predicted seconds of passes without their stalls.
        copy: of copies.
    """

    def __init__(self, cost: PassCost, away: int = 0, limit: int | None = None) -> None:
        self.cost = cost
        self._levels = [level for level in cost.aways() if limit is None or level <= limit]
        self.away = self._at_most(away)
        self.compute, self.copy = Ratio(), Ratio()
        self._rates: list[float] = []
        self._waits: list[float] = []
        self._before: int | None = None
        self._before_rate = 0.0
        self._held, self._held_limit = 0, self._levels[-1]
        self._hold_windows = _HOLD_WINDOWS

    def update(self, window: Window) -> int:
        """Takes a window with `away` layers away; returns the layers away for the next."""
        if window.passes < 1 or window.seconds <= 0:
            return self.away
        self._measure(window)
        self._rates = [*self._rates[1 - RATE_WINDOWS :], window.rows_per_s]
        self._waits = [*self._waits[1 - RATE_WINDOWS :], window.stall_share - self._wait_share(self.away)]
        self._held -= 1
        if self._held <= 0:
            self._held_limit = self._levels[-1]
        target = self._best(self._held_limit)
        waits = window.stall_share > MAX_STALL_SHARE
        if waits and target < self.away:
            self._go(target)
        elif self._waits_too_long(window) or self._lost_rate(window.passes):
            # By their times copies would fit: their order, or the model of the rest, is worse.
            self._hold(self.away - 1)
            before = self.away if self._before is None else self._before
            self._go(min(self._best(self._held_limit), before))
        elif target > self.away and waits:
            return self.away
        elif target > self.away and not self.copy.known:
            self._go(self._levels[1])
        elif self._rate(target) > WORTH * self._rate(self.away):
            before, rate = self.away, _mean(self._rates)
            self._go(target)
            if target > before:
                self._before, self._before_rate = before, rate
        return self.away

    @property
    def window_passes(self) -> int:
        """Passes of the next window: one where copies are to be measured for the first time."""
        return 1 if self.away and not self.copy.known else WINDOW_PASSES

    def _measure(self, window: Window) -> None:
        compute_s = (window.seconds - window.stall_s) / window.passes
        self.compute.observe(compute_s, self.cost.compute_s(self.away))
        if window.copies:
            predicted_s = self.cost.copy_s(self.away) / (self.away + self.cost.slots)
            self.copy.observe(window.copy_s / window.copies, predicted_s)

    def _best(self, limit: int) -> int:
        return max((level for level in self._levels if level <= limit), key=self._rate)

    def _rate(self, away: int) -> float:
        """Predicted rows per second, in a unit of its own."""
        return self.cost.expansion(away) / self._seconds(away)

    def _seconds(self, away: int) -> float:
        compute_s = self.cost.compute_s(away) * self.compute.value
        copy_s = self.cost.copy_s(away) * self.copy.value
        return expected_longer(compute_s, copy_s, compute_s * self._spread())

    def _wait_share(self, away: int) -> float:
        """Predicted share of the time that is waited."""
        return 1 - self.cost.compute_s(away) * self.compute.value / self._seconds(away)

    def _spread(self) -> float:
        """Standard deviation of a pass's compute time over its mean."""
        relative = math.sqrt(self.compute.variance * WINDOW_PASSES) / self.compute.value
        return _NOT_EVENED * max(relative, _PRIOR_SPREAD if not self.compute.variance else 0.0)

    def _waits_too_long(self, window: Window) -> bool:
        """Whether more is waited than noise explains: much at once, or over some windows."""
        if not self.away or window.stall_share <= MAX_STALL_SHARE:
            return False
        beyond = _mean(self._waits)
        return beyond > (MAX_STALL_SHARE if len(self._waits) > 1 else 4 * MAX_STALL_SHARE)

    def _lost_rate(self, passes: int) -> bool:
        if self._before is None or len(self._rates) < RATE_WINDOWS:
            return False
        noise = 2 * self._spread() / math.sqrt(passes) * math.sqrt(2 / RATE_WINDOWS)
        return _mean(self._rates) < (MIN_RATE - noise) * self._before_rate

    def _hold(self, limit: int) -> None:
        self._held, self._held_limit = self._hold_windows, self._at_most(limit)
        self._hold_windows *= 2

    def _at_most(self, away: int) -> int:
        return max((level for level in self._levels if level <= away), default=0)

    def _go(self, away: int) -> None:
        self.away = away
        self._rates, self._waits, self._before = [], [], None


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def expected_longer(mean_s: float, other_s: float, spread_s: float) -> float:
    """Expected longer of two times, of which one varies.

    Args:
        mean_s: of the normally distributed one.
        other_s: the constant one.
        spread_s: standard deviation.
    """
    if spread_s <= 0:
        return max(mean_s, other_s)
    z = (mean_s - other_s) / spread_s
    density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return other_s + spread_s * (density + z * (1 + math.erf(z / math.sqrt(2))) / 2)
