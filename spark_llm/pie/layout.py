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
    captured graphs of a GPU require.

    Differs from the paper, in which any layer may be away: with `away` layers away, one computing and one
    arriving, any choice has to move `away + 2` layers a pass, which is what two slots move.

    Attributes:
        layers: of the model that keep keys and values.
        swapped: layers whose home is host memory, ascending; never layer 0.
        slots: that they share.

    Raises:
        ValueError: layer 0 is swapped, the order is not ascending, or nothing would be saved.
    """

    layers: int
    swapped: tuple[int, ...] = ()
    slots: int = SLOTS

    def __post_init__(self) -> None:
        """Checks the layers."""
        if self.slots < SLOTS:
            raise ValueError(f"{self.slots} slots; at least {SLOTS}: one computes while the next arrives")
        if not self.swapped:
            return
        if list(self.swapped) != sorted(set(self.swapped)) or not 0 < self.swapped[0]:
            raise ValueError(f"swapped layers must ascend and not include layer 0: {self.swapped}")
        if self.swapped[-1] >= self.layers or self.away < 1:
            raise ValueError(
                f"{len(self.swapped)} swapped layers of {self.layers} save nothing with {self.slots} slots"
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
        """Returns the slot of a layer from 0; None: the layer is not swapped."""
        return self.swapped.index(layer) % self.slots if layer in self.swapped else None

    def on_slot(self, slot: int) -> tuple[int, ...]:
        """Returns the layers of a slot, in the order of their turns."""
        return self.swapped[slot :: self.slots]


def max_away(layers: int, slots: int = SLOTS) -> int:
    """Most layers that can be away: all but layer 0 and those in slots."""
    return max(layers - 1 - slots, 0)


def spread(layers: int, away: int, slots: int = SLOTS) -> SlotLayout:
    """Swapped layers spread evenly, so that every copy has the same time to hide behind.

    Neighbours would have to be copied within one layer's time each, however fast the other layers are.

    Args:
        layers: of the model.
        away: layers that the device shall have no room for; 0 for none.
        slots: that the swapped ones share.

    Raises:
        ValueError: `away` is negative or over `max_away`.
    """
    if not 0 <= away <= max_away(layers, slots):
        raise ValueError(
            f"{away} layers away; allowed: 0 to {max_away(layers, slots)} of {layers} with {slots} slots"
        )
    if not away:
        return SlotLayout(layers, (), slots)
    count = away + slots
    return SlotLayout(layers, tuple((at + 1) * (layers - 1) // count for at in range(count)), slots)


def away_for(layers: int, expansion: float, slots: int = SLOTS) -> int:
    """Most layers away with which the expansion is not exceeded; 0 for an expansion under the smallest."""
    return min(max(int(layers - layers / max(expansion, 1.0) + 1e-9), 0), max_away(layers, slots))
