"""The time of moving bytes between the accelerator and its host."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Link:
    """Latency plus bytes over bandwidth, each way; both ways at once may slow each other down.

    Attributes:
        latency_s: of each transfer, before its first byte.
        down_bytes_per_s: host to accelerator.
        up_bytes_per_s: accelerator to host.
        duplex_share: speed of each direction while both move, as a share of its own: 1 for full duplex,
            0.5 for half duplex, in which they take turns.

    Raises:
        ValueError: a speed is not positive, the latency is negative, or the share is outside 0.5 to 1.
    """

    latency_s: float
    down_bytes_per_s: float
    up_bytes_per_s: float
    duplex_share: float = 1.0

    def __post_init__(self) -> None:
        """Checks ranges."""
        if min(self.down_bytes_per_s, self.up_bytes_per_s) <= 0 or self.latency_s < 0:
            raise ValueError(f"bandwidths must be positive and the latency not negative: {self}")
        if not 0.5 <= self.duplex_share <= 1:
            raise ValueError(
                f"duplex_share is {self.duplex_share}; allowed: 0.5 (in turns) to 1 (full duplex)"
            )

    def seconds(self, down_bytes: float, up_bytes: float = 0.0) -> float:
        """Until both transfers, started together, are done.

        Args:
            down_bytes: host to accelerator; 0 for no transfer.
            up_bytes: accelerator to host; 0 for no transfer.
        """
        down_s = down_bytes / self.down_bytes_per_s
        up_s = up_bytes / self.up_bytes_per_s
        if not down_s and not up_s:
            return 0.0
        shorter_s, longer_s = sorted((down_s, up_s))
        # While the shorter one lasts both are slowed down; what is left of the longer one then has the link.
        return self.latency_s + shorter_s / self.duplex_share + longer_s - shorter_s


_LATENCY_S = 10e-6

# Measured on an H100: 50 GB/s one way, 83.4 GB/s in all both ways.
PCIE5_X16 = Link(_LATENCY_S, 50e9, 50e9, duplex_share=0.834)
# Half of it, as the standard's rate is.
PCIE4_X16 = Link(_LATENCY_S, 25e9, 25e9, duplex_share=0.834)
# Measured on a GH200: 85 % of 450 GB/s to the GPU, 35 % of it from there, a tenth less both ways at once.
NVLINK_C2C = Link(_LATENCY_S, 382.5e9, 157.5e9, duplex_share=0.9)
# The effective speed that goes with the Pie paper (arXiv 2411.09317), by third parties; both ways at once.
GH200 = Link(_LATENCY_S, 419e9, 419e9)

LINKS = {"pcie4-x16": PCIE4_X16, "pcie5-x16": PCIE5_X16, "nvlink-c2c": NVLINK_C2C, "gh200": GH200}
