"""Whether a job gains from host memory, and how: in order, from what costs nothing to what costs most."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spark_llm.costmodel.link import Link


class Mode(StrEnum):
    """What host memory is used for."""

    OFF = "off"
    PREFIX = "prefix"
    LAYERS = "layers"


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What the engine knows about itself when it starts.

    Attributes:
        layers: that keep keys and values.
        weights_bytes: read in each step.
        kv_token_bytes: keys and values of a token, all layers.
        near_bytes: device memory for keys and values.
        host_bytes: that may be used on the host.
        device_bytes_per_s: of the device's memory.
        link: between host and device.
        prefill_token_s: of a prompt token.
        chunk_tokens: most tokens of a step.
        max_rows: that the engine runs at a time, whatever its memory.
    """

    layers: int
    weights_bytes: float
    kv_token_bytes: float
    near_bytes: float
    host_bytes: float
    device_bytes_per_s: float
    link: Link
    prefill_token_s: float
    chunk_tokens: int = 8192
    max_rows: int = 1024


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What the planner knows about a query's calls.

    Attributes:
        rows: to be answered.
        prompt_tokens: of a row, on average, shared ones included.
        output_tokens: of a row's answer, on average.
        shared_tokens: of a row's prompt that rows beside it have too and that are kept once.
        returning_tokens: of a row's prompt that an earlier row had, but that will have been evicted.
    """

    rows: int
    prompt_tokens: float
    output_tokens: float
    shared_tokens: float = 0.0
    returning_tokens: float = 0.0


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, and why.

    Attributes:
        mode: what host memory is used for.
        away: layers that the device has no room for (mode `layers`), else 0.
        expansion: keys and values in all over those on the device.
        ceiling: of the closed form.
        gain: predicted rows per second over those without.
        reason: a sentence that EXPLAIN and the report can print.
    """

    mode: Mode
    away: int
    expansion: float
    ceiling: float
    gain: float
    reason: str

    def words(self) -> str:
        """Returns the line of EXPLAIN and of the report, without its label."""
        return f"{self.mode} ({self.reason})"
