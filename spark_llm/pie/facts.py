"""What a decision is made from: an engine and a job, in figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spark_llm.pie.ceiling import PassCost

if TYPE_CHECKING:
    from spark_llm.costmodel.link import Link


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What the engine knows about itself when it starts.

    Attributes:
        layers: that keep keys and values.
        weights_bytes: read in each step.
        kv_token_bytes: keys and values of a token, all layers.
        near_bytes: device memory for keys and values.
        host_bytes: that may hold keys and values.
        device_bytes_per_s: of the device's memory.
        link: between host and device.
        prefill_token_s: of a prompt token.
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
    max_rows: int = 1024

    def fetch_token_s(self) -> float:
        """Returns seconds to bring a token's keys and values from the host."""
        return self.kv_token_bytes / self.link.down_bytes_per_s


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What the planner knows about a query's calls.

    Attributes:
        rows: to be answered.
        prompt_tokens: of a row, on average, shared ones included.
        output_tokens: of a row's answer, on average; at least 1.
        shared_tokens: of a row's prompt that rows beside it have too: kept once, computed once.
        returning_tokens: of a row's prompt that an earlier row had, but that will have been evicted.

    Raises:
        ValueError: rows or answers are missing, or parts of the prompt are longer than the prompt.
    """

    rows: int
    prompt_tokens: float
    output_tokens: float
    shared_tokens: float = 0.0
    returning_tokens: float = 0.0

    def __post_init__(self) -> None:
        """Checks the lengths."""
        parts = self.shared_tokens + self.returning_tokens
        if self.rows < 1 or self.output_tokens < 1 or not 0 <= parts <= self.prompt_tokens:
            raise ValueError(
                f"rows and answers must be at least 1, shared and returning tokens within the prompt: {self}"
            )


@dataclass(frozen=True, slots=True)
class Load:
    """A job on an engine.

    Attributes:
        engine: the engine.
        job: the job.
    """

    engine: EngineFacts
    job: JobFacts

    @property
    def shared_bytes(self) -> float:
        """Of the shared prompt, kept once."""
        return self.job.shared_tokens * self.engine.kv_token_bytes

    @property
    def row_bytes(self) -> float:
        """Of a row's own tokens, at its longest."""
        tokens = self.job.prompt_tokens - self.job.shared_tokens + self.job.output_tokens
        return tokens * self.engine.kv_token_bytes

    @property
    def wanted_rows(self) -> int:
        """Rows that could be in flight if memory were no matter."""
        return min(self.job.rows, self.engine.max_rows)

    @property
    def wanted_bytes(self) -> float:
        """Their keys and values."""
        return self.shared_bytes + self.wanted_rows * self.row_bytes

    @property
    def near_rows(self) -> float:
        """Rows that the device's memory holds, at least 1."""
        fit = (self.engine.near_bytes - self.shared_bytes) / self.row_bytes
        return max(min(fit, self.wanted_rows), 1.0)

    @property
    def prompt_s(self) -> float:
        """Seconds to compute a row's own prompt tokens."""
        return (self.job.prompt_tokens - self.job.shared_tokens) * self.engine.prefill_token_s

    def cost(self, *, prompts: bool = True) -> PassCost:
        """Returns the cost of the engine's passes while it is full.

        Args:
            prompts: they carry the prompts of the rows that follow; False: they only decode.
        """
        prompts_s = self.near_rows * self.prompt_s / self.job.output_tokens if prompts else 0.0
        return PassCost(
            self.engine.layers,
            self.engine.weights_bytes,
            self.engine.near_bytes,
            self.engine.device_bytes_per_s,
            self.engine.link,
            prompts_s=prompts_s,
            # A row writes a token of those that it has.
            written_share=self.engine.kv_token_bytes / self.row_bytes,
        )

    def decode_share(self) -> float:
        """Returns the share of the time that goes to decoding rather than to prompts."""
        decode_s = self.cost(prompts=False).compute_s(0) * self.job.output_tokens / self.near_rows
        return decode_s / (decode_s + self.prompt_s)

    def fetch_gain(self) -> float:
        """Returns rows per second with returning tokens fetched over those with them computed again."""
        engine, job = self.engine, self.job
        decode_s = self.cost(prompts=False).compute_s(0) * job.output_tokens / self.near_rows
        computed_s = decode_s + self.prompt_s
        saved_s = job.returning_tokens * (engine.prefill_token_s - engine.fetch_token_s())
        return computed_s / (computed_s - saved_s)
