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
    prompts_s: float = 0.0,
) -> float:
    """Most keys and values in all, over those on the device, that copies hidden behind a step allow.

    `C·(e − 1) ≤ link·T` with `T = (W + e·C)/device + extra + e·prompts` gives
    `e ≤ (1 + r·W/C + link·extra/C)/(1 − r − link·prompts/C)`, `r = link/device`. Infinite where a link can
    bring a row's keys and values in the time that the row itself adds to a step.

    Args:
        weights_bytes: read in each step (W).
        near_bytes: device memory for keys and values (C).
        link_bytes_per_s: host to device.
        device_bytes_per_s: of the device's memory.
        extra_s: of a step beyond reading weights, keys and values, however many rows are in flight.
        prompts_s: of a step's prompt tokens with nothing away, which grow with the rows in flight.

    Raises:
        ValueError: a size or speed is not positive.
    """
    sizes = (weights_bytes, near_bytes, link_bytes_per_s, device_bytes_per_s)
    if min(sizes) <= 0 or min(extra_s, prompts_s) < 0:
        raise ValueError(
            "sizes and speeds must be positive, seconds not negative: weights {}, near {}, link {}, "
            "device {}, extra {}, prompts {}".format(*sizes, extra_s, prompts_s)
        )
    r = link_bytes_per_s / device_bytes_per_s
    left = 1 - r - link_bytes_per_s * prompts_s / near_bytes
    if left <= 0:
        return float("inf")
    return (1 + r * weights_bytes / near_bytes + link_bytes_per_s * extra_s / near_bytes) / left


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
        extra_s: of a pass beyond reading weights, keys and values, however many rows are in flight.
        prompts_s: of a pass's prompt tokens with nothing away, which grow with the rows in flight.
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
    prompts_s: float = 0.0
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
            self.prompts_s,
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
        expansion = self.expansion(away)
        read_bytes = self.weights_bytes + self.near_bytes * expansion
        return read_bytes / self.device_bytes_per_s + self.extra_s + self.prompts_s * expansion

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
