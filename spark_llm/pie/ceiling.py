"""How much memory a link can add without a step waiting for it: a closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spark_llm.pie.layout import SLOTS, aways

if TYPE_CHECKING:
    from spark_llm.costmodel.link import Link


def expansion_ceiling(
    weights_bytes: float,
    near_bytes: float,
    link_bytes_per_s: float,
    device_bytes_per_s: float,
    extra_s: float = 0.0,
) -> float:
    """Most keys and values in all, over those on the device, that copies hidden behind a step allow.

    `C·(e − 1) ≤ link·T` with `T = (W + e·C)/device + extra` gives
    `e ≤ (1 + r·W/C + link·extra/C)/(1 − r)`, `r = link/device`. Infinite where the link is as fast as the
    device's memory.

    Args:
        weights_bytes: read in each step (W).
        near_bytes: device memory for keys and values (C).
        link_bytes_per_s: host to device.
        device_bytes_per_s: of the device's memory.
        extra_s: of a step beyond reading weights, keys and values: prompt tokens in it.

    Raises:
        ValueError: a size or speed is not positive.
    """
    sizes = (weights_bytes, near_bytes, link_bytes_per_s, device_bytes_per_s)
    if min(sizes) <= 0 or extra_s < 0:
        raise ValueError(
            "sizes and speeds must be positive, seconds not negative: weights {}, near {}, link {}, "
            "device {}, extra {}".format(*sizes, extra_s)
        )
    r = link_bytes_per_s / device_bytes_per_s
    if r >= 1:
        return float("inf")
    return (1 + r * weights_bytes / near_bytes + link_bytes_per_s * extra_s / near_bytes) / (1 - r)


@dataclass(frozen=True, slots=True)
class PassCost:
    """The seconds and bytes of a forward pass, by how many layers are away.

    The device's memory for keys and values is full whatever is away: rows fill what is there. With `away`
    of `layers` layers away a layer is `near_bytes / (layers − away)`.

    Attributes:
        layers: of the model.
        weights_bytes: read in each pass.
        near_bytes: device memory for keys and values.
        device_bytes_per_s: of the device's memory.
        link: between host and device.
        extra_s: of a pass beyond reading weights, keys and values: prompt tokens in it.
        slots: that swapped layers share.
        turning: see `SlotLayout`.
        written_share: of a layer's bytes that a pass writes and that go out.
    """

    layers: int
    weights_bytes: float
    near_bytes: float
    device_bytes_per_s: float
    link: Link
    extra_s: float = 0.0
    slots: int = SLOTS
    turning: bool = False
    written_share: float = 1 / 64

    def ceiling(self) -> float:
        """Returns the closed form's expansion."""
        return expansion_ceiling(
            self.weights_bytes,
            self.near_bytes,
            self.link.down_bytes_per_s,
            self.device_bytes_per_s,
            self.extra_s,
        )

    def aways(self) -> range:
        """Returns the numbers of layers that can be away."""
        return aways(self.layers, self.slots, self.turning)

    def expansion(self, away: int) -> float:
        """Returns keys and values in all over those on the device."""
        return self.layers / (self.layers - away)

    def layer_bytes(self, away: int) -> float:
        """Returns keys and values of a layer."""
        return self.near_bytes / (self.layers - away)

    def compute_s(self, away: int) -> float:
        """Returns seconds of a pass that waits for nothing."""
        read_bytes = self.weights_bytes + self.near_bytes * self.expansion(away)
        return read_bytes / self.device_bytes_per_s + self.extra_s

    def copy_s(self, away: int) -> float:
        """Returns seconds that the link is busy in a pass: `away + slots` layers in, what they wrote out."""
        if not away:
            return 0.0
        moved = self.layer_bytes(away)
        return (away + self.slots) * self.link.seconds(moved, self.written_share * moved)

    def seconds(self, away: int) -> float:
        """Returns seconds of a pass whose copies hide as well as they can."""
        return max(self.compute_s(away), self.copy_s(away))

    def gain(self, away: int) -> float:
        """Returns rows per second over those with nothing away: rows in flight follow the memory."""
        return self.expansion(away) * self.compute_s(0) / self.seconds(away)

    def best_away(self) -> int:
        """Returns the layers away that give most rows per second; the fewest of equals."""
        return max(self.aways(), key=self.gain)
