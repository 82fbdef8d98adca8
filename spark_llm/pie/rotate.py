"""Which copies to start: each swapped layer comes in before its turn and goes out after it, once a pass."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spark_llm.pie.residency import Residency, ResidencyError, State

if TYPE_CHECKING:
    from spark_llm.pie.layout import SlotLayout


@dataclass(frozen=True, slots=True)
class Copy:
    """A layer on its way.

    Attributes:
        layer: its index.
        slot: on the device.
        inbound: host to device; else what the pass wrote goes from device to host.
        pass_number: of the pass that will use it, or has.
    """

    layer: int
    slot: int
    inbound: bool
    pass_number: int


class Rotation:
    """The copies of one engine, at most one at a time each way; it starts none itself.

    The engine calls, in each forward pass: `begin_pass`, then per layer `before_layer`, waiting until
    `ready`, and `after_layer`. Whenever something ended it polls: `finished(copy)` for copies whose event
    fired, then `copies()` for those to start. No call waits.

    Layers come in first-in-first-out order of their next use. What goes out is the layer just computed, whose
    next use is furthest, and only if it is swapped: `away + slots` layers a pass. (Evicting every layer after
    its use moves all of them, n / away times as much.)

    Source: Pie (arXiv 2411.09317) section 4, by its abstract and a public re-implementation.

    Args:
        layout: layers and slots.
        across_passes: layers of the next pass may come in before it begins. An engine that learns only with
            the pass which blocks it needs has to say no.
        writes: layers have to go out before their slot is free; False where writes do not take the link.
    """

    def __init__(self, layout: SlotLayout, *, across_passes: bool = True, writes: bool = True) -> None:
        self.layout, self.residency = layout, Residency(layout)
        self._swapped = frozenset(layout.swapped)
        self._across, self._writes = across_passes, writes
        self._pass_number = -1
        self._inbound: Copy | None = None
        self._outbound: Copy | None = None
        self._to_go: deque[Copy] = deque()
        # Position of the next layer to come in, counted over all passes.
        self._next = 0
        self.loads = 0

    def begin_pass(self) -> None:
        """Begins a forward pass over all layers."""
        self._pass_number += 1

    def ready(self, layer: int) -> bool:
        """Returns whether a layer may be computed; False: wait for the copies under way, poll, ask again."""
        return self.residency.state(layer) is State.GPU

    def before_layer(self, layer: int) -> None:
        """States that a layer is computed now.

        Raises:
            ResidencyError: it is not on the device.
        """
        self.residency.use(layer)

    def after_layer(self, layer: int) -> None:
        """States that a layer has been computed: if it is swapped, it may go out."""
        if layer not in self._swapped:
            return
        slot = self.residency.start_out(layer)
        if self._writes:
            self._to_go.append(Copy(layer, slot, False, self._pass_number))
        else:
            self.residency.end_out(layer)

    def copies(self) -> list[Copy]:
        """Returns the copies to start now, which are taken as started."""
        started = []
        if self._outbound is None and self._to_go:
            self._outbound = self._to_go.popleft()
            started.append(self._outbound)
        if self._inbound is None and (copy := self._wanted()) is not None:
            self.residency.start_in(copy.layer, copy.slot)
            self._inbound = copy
            self._next += 1
            self.loads += 1
            started.append(copy)
        return started

    def finished(self, copy: Copy) -> None:
        """States that a copy has ended.

        Raises:
            ResidencyError: it is not under way.
        """
        if copy == self._inbound:
            self._inbound = None
            self.residency.end_in(copy.layer)
        elif copy == self._outbound:
            self._outbound = None
            self.residency.end_out(copy.layer)
        else:
            raise ResidencyError(f"{copy} is not under way: {self._inbound}, {self._outbound}")

    def _wanted(self) -> Copy | None:
        swapped = self.layout.swapped
        if not swapped or self._pass_number < 0:
            return None
        pass_number, at = divmod(self._next, len(swapped))
        if pass_number > self._pass_number + self._across:
            return None
        slot = (self._next if self.layout.turning else at) % self.layout.slots
        if self.residency.owner(slot) is not None:
            return None
        return Copy(swapped[at], slot, True, pass_number)
