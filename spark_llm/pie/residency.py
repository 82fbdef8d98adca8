"""Where each swapped layer is: a state machine that never lets a layer be used that is not there."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spark_llm.pie.layout import SlotLayout


class State(StrEnum):
    """Of a layer's keys and values."""

    GPU = "gpu"
    CPU = "cpu"
    SWAPPING_IN = "swapping_in"
    SWAPPING_OUT = "swapping_out"


class ResidencyError(RuntimeError):
    """A layer was used, loaded or evicted in a state that does not allow it."""


class Residency:
    """`cpu -> swapping_in -> gpu -> swapping_out -> cpu`; layers that are not swapped are always `gpu`.

    A slot belongs to one layer from the start of its way in until the end of its way out. The host keeps a
    copy of everything, so that only what the pass wrote has to go out.

    Source: Pie (arXiv 2411.09317) section 4, by its abstract and a public re-implementation.

    Args:
        layout: layers and slots.
    """

    def __init__(self, layout: SlotLayout) -> None:
        self.layout = layout
        self._states = dict.fromkeys(layout.swapped, State.CPU)
        self._owners: list[int | None] = [None] * layout.slots
        self._slots: dict[int, int] = {}

    def state(self, layer: int) -> State:
        """Returns where a layer is."""
        return self._states.get(layer, State.GPU)

    def owner(self, slot: int) -> int | None:
        """Returns the layer that has a slot; None: it is free."""
        return self._owners[slot]

    def use(self, layer: int) -> None:
        """States that a layer is about to be computed.

        Raises:
            ResidencyError: it is not on the device.
        """
        self._require(layer, State.GPU, "used")

    def start_in(self, layer: int, slot: int) -> None:
        """States that a copy to a slot has begun.

        Raises:
            ResidencyError: the layer is not on the host, or the slot is another layer's.
        """
        self._require(layer, State.CPU, "loaded")
        if self._owners[slot] is not None:
            raise ResidencyError(
                f"layer {layer} cannot be loaded: slot {slot} has layer {self._owners[slot]}"
            )
        self._owners[slot] = layer
        self._slots[layer] = slot
        self._states[layer] = State.SWAPPING_IN

    def end_in(self, layer: int) -> None:
        """States that it has ended.

        Raises:
            ResidencyError: none had begun.
        """
        self._require(layer, State.SWAPPING_IN, "taken as loaded")
        self._states[layer] = State.GPU

    def start_out(self, layer: int) -> int:
        """States that a copy to the host has begun; returns the slot that it leaves.

        Raises:
            ResidencyError: the layer is not on the device, or has no other place.
        """
        if layer not in self._states:
            raise ResidencyError(f"layer {layer} is not swapped: it cannot be evicted")
        self._require(layer, State.GPU, "evicted")
        self._states[layer] = State.SWAPPING_OUT
        return self._slots[layer]

    def end_out(self, layer: int) -> None:
        """States that it has ended: the slot is free.

        Raises:
            ResidencyError: none had begun.
        """
        self._require(layer, State.SWAPPING_OUT, "taken as evicted")
        self._states[layer] = State.CPU
        self._owners[self._slots.pop(layer)] = None

    def _require(self, layer: int, state: State, done: str) -> None:
        if self.state(layer) is not state:
            raise ResidencyError(
                f"layer {layer} is {self.state(layer)} and cannot be {done}: it has to be {state}"
            )
