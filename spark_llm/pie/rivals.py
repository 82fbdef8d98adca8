"""How others use the same link, for comparison in the simulator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_llm.pie.layout import SlotLayout

if TYPE_CHECKING:
    from spark_llm.pie.ceiling import PassCost


def every_layer(layers: int, away: int) -> SlotLayout:
    """All layers but the first go out after their turn and come back before the next.

    A natural mistake, since nothing has to be chosen: all layers move in every pass, however few had to.

    Raises:
        ValueError: nothing is away, or fewer than two slots are left.
    """
    return SlotLayout(layers, tuple(range(1, layers)), layers - 1 - away, turning=True)


def blocking_rate(cost: PassCost, away: int) -> float:
    """Rows per second, nothing away being 1 in flight, of swapping the whole cache while nothing computes.

    FlexGen-like: keys and values live on the host, and each layer waits for its own. (FlexGen overlaps the
    copy of the next layer where it can, and places shares of the cache by a linear program.)

    Args:
        cost: of a pass.
        away: layers that the device has no room for.
    """
    moved_bytes = cost.layer_bytes(away)
    waits_s = cost.link.seconds(moved_bytes) + cost.link.seconds(0.0, cost.written_share * moved_bytes)
    return cost.expansion(away) / (cost.compute_s(away) + cost.layers * waits_s)


def prefix_tier_rate(cost: PassCost) -> float:
    """The same of a tier for blocks that are not in use: running rows have the device's memory only."""
    return 1.0 / cost.compute_s(0)
