"""The rotation on a simulated device: a compute stream, two copy streams, one event after the other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from spark_llm.pie.controller import Window
from spark_llm.pie.layout import spread
from spark_llm.pie.rotate import Rotation
from spark_llm.pie.streams import Streams

if TYPE_CHECKING:
    from collections.abc import Callable

    from spark_llm.pie.ceiling import PassCost
    from spark_llm.pie.layout import SlotLayout


def exactly() -> float:
    """No noise."""
    return 1.0


@dataclass(slots=True)
class SwapSimulation:
    """An engine that decodes for ever, with its memory full.

    Rows in flight follow the memory, so a pass answers `expansion` times as many as with nothing away.

    Attributes:
        cost: of its passes.
        layout: what is swapped.
        noise: factor of each pass's compute time and of each copy's time, drawn anew each time.
        across_passes: see `Rotation`.
    """

    cost: PassCost
    layout: SlotLayout
    noise: Callable[[], float] = exactly
    across_passes: bool = True
    _rotation: Rotation = None  # type: ignore[assignment]
    _streams: Streams = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        """Begins with all swapped layers on the host."""
        self._begin(0.0)

    def _begin(self, now_s: float) -> None:
        writes = self.cost.written_share > 0
        self._rotation = Rotation(self.layout, across_passes=self.across_passes, writes=writes)
        self._streams = Streams(self.cost.link)
        self._streams.now_s = now_s

    @property
    def now_s(self) -> float:
        """The clock."""
        return self._streams.now_s

    def relayout(self, away: int) -> None:
        """Changes how many layers are away; those that change places are moved meanwhile."""
        if away == self.layout.away:
            return
        before = self.layout
        moved_bytes = abs(away - before.away) * self.cost.layer_bytes(before.away)
        moving_s = self.cost.link.seconds(0.0, moved_bytes)
        self.layout = spread(before.layers, away, before.slots, before.turning)
        self._begin(self.now_s + moving_s)

    def change_link(self, speed: float) -> None:
        """Changes the link's speed, as a factor."""
        link = self.cost.link
        link = replace(
            link,
            down_bytes_per_s=link.down_bytes_per_s * speed,
            up_bytes_per_s=link.up_bytes_per_s * speed,
        )
        self.cost = replace(self.cost, link=link)
        self._streams.link = link

    def run(self, passes: int) -> Window:
        """Runs forward passes and returns what an engine would have measured."""
        streams, rotation, away = self._streams, self._rotation, self.layout.away
        started_s, busy_s, loads = streams.now_s, streams.busy_s, rotation.loads
        moved_bytes = streams.moved_bytes
        stall_s, stalls = 0.0, 0
        for _ in range(passes):
            rotation.begin_pass()
            self._start_copies()
            layer_s = self.cost.compute_s(away) * self.noise() / self.layout.layers
            for layer in range(self.layout.layers):
                waiting_s = streams.now_s
                while not rotation.ready(layer):
                    if (end_s := streams.next_end_s()) is None:
                        raise RuntimeError(f"layer {layer} is away and nothing moves")
                    self._advance(end_s)
                if streams.now_s > waiting_s:
                    stall_s += streams.now_s - waiting_s
                    stalls += 1
                rotation.before_layer(layer)
                done_s = streams.now_s + layer_s
                while (end_s := streams.next_end_s()) is not None and end_s <= done_s:
                    self._advance(end_s)
                self._advance(done_s)
                rotation.after_layer(layer)
                self._start_copies()
        return Window(
            passes=passes,
            seconds=streams.now_s - started_s,
            stall_s=stall_s,
            rows=passes * self.layout.expansion,
            copies=rotation.loads - loads,
            copy_s=streams.busy_s - busy_s,
            stalls=stalls,
            moved_bytes=streams.moved_bytes - moved_bytes,
        )

    def _advance(self, to_s: float) -> None:
        for copy in self._streams.advance(to_s):
            self._rotation.finished(copy)
            self._start_copies()

    def _start_copies(self) -> None:
        layer_bytes = self.cost.layer_bytes(self.layout.away)
        for copy in self._rotation.copies():
            share = 1.0 if copy.inbound else self.cost.written_share
            self._streams.start(copy, share * layer_bytes, self.noise())
