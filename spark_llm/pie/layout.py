"""Which layers are swapped, and which slots they share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SLOTS: Final = 2
"""One computes while the next arrives."""


@dataclass(frozen=True, slots=True)
class SlotLayout:
    """Swapped layers take turns in a few slots; the others stay where they are.

    Addresses never change: a layer is always in the same slot, and only the slot's content rotates, as
    captured graphs of a GPU require. The number of swapped layers should then be a multiple of the slots': a
    slot's last layer and its first else follow each other, and nothing can arrive meanwhile. An engine with a
    table between layers and slots can have them take any slot in turn, and any number of them.

    Differs from the paper, in which any layer may be away: with `away` layers away, one computing and one
    arriving, any choice has to move `away + 2` layers a pass, which is what two slots move.

    Attributes:
        layers: of the model that keep keys and values.
        swapped: layers whose home is host memory, ascending; never layer 0.
        slots: that they share.
        turning: slots are taken in turn by whichever layer is next.

    Raises:
        ValueError: layer 0 is swapped, the order is not ascending, or nothing would be saved.
    """

    layers: int
    swapped: tuple[int, ...] = ()
    slots: int = SLOTS
    turning: bool = False

    def __post_init__(self) -> None:
        """Checks the layers."""
        if self.slots < SLOTS:
            raise ValueError(f"{self.slots} slots; at least {SLOTS}: one computes while the next arrives")
        if not self.swapped:
            return
        if list(self.swapped) != sorted(set(self.swapped)) or self.swapped[0] < 1:
            raise ValueError(f"swapped layers must ascend and not include layer 0: {self.swapped}")
        if self.swapped[-1] >= self.layers or self.away < 1:
            raise ValueError(
                f"{len(self.swapped)} swapped layers of {self.layers}, up to layer {self.swapped[-1]}, save "
                f"nothing with {self.slots} slots"
            )

    @property
    def away(self) -> int:
        """Layers that have no room on the device."""
        return len(self.swapped) - self.slots if self.swapped else 0

    @property
    def near_layers(self) -> int:
        """Layers that the device has room for."""
        return self.layers - self.away

    @property
    def expansion(self) -> float:
        """Keys and values in all over those that the device has room for, at least 1."""
        return self.layers / self.near_layers

    def slot(self, layer: int) -> int | None:
        """Returns the slot of a layer, from 0; None: the layer is not swapped.

        Raises:
            ValueError: slots are taken in turn.
        """
        if self.turning:
            raise ValueError("slots are taken in turn: a layer has none of its own")
        return self.swapped.index(layer) % self.slots if layer in self.swapped else None

    def on_slot(self, slot: int) -> tuple[int, ...]:
        """Returns the layers of a slot, in the order of their turns.

        Raises:
            ValueError: slots are taken in turn.
        """
        return tuple(layer for layer in self.swapped if self.slot(layer) == slot)


def aways(layers: int, slots: int = SLOTS, turning: bool = False) -> range:
    """Numbers of layers that can be away, 0 first: layer 0 and those in slots cannot."""
    return range(0, max(layers - slots, 1), 1 if turning else slots)


def spread(layers: int, away: int, slots: int = SLOTS, turning: bool = False) -> SlotLayout:
    """Swapped layers spread evenly, so that every copy has the same time to hide behind.

    Neighbours would have to be copied within one layer's time each, however fast the other layers are.

    Args:
        layers: of the model.
        away: layers that the device shall have no room for; 0 for none.
        slots: that the swapped ones share.
        turning: see `SlotLayout`.

    Raises:
        ValueError: `away` is not one of `aways`.
    """
    allowed = aways(layers, slots, turning)
    if away not in allowed:
        raise ValueError(f"{away} layers away; allowed for {layers} with {slots} slots: {list(allowed)}")
    count = away + slots if away else 0
    swapped = tuple((at + 1) * (layers - 1) // count for at in range(count))
    return SlotLayout(layers, swapped, slots, turning)


def away_for(layers: int, expansion: float, slots: int = SLOTS, turning: bool = False) -> int:
    """Most layers away with which the expansion is not exceeded; 0 for an expansion under the smallest."""
    allowed = aways(layers, slots, turning)
    return max((away for away in allowed if layers <= expansion * (layers - away)), default=0)
