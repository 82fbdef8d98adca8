"""What a decision is made from: an engine and a job, in figures."""

from __future__ import annotations

import math
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
        chunk_tokens: most tokens of a step.
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
    chunk_tokens: int = 2048

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

    @property
    def cost(self) -> PassCost:
        """The cost of a pass that only decodes, while the engine's memory is full."""
        return PassCost(
            self.engine.layers,
            self.engine.weights_bytes,
            self.engine.near_bytes,
            self.engine.device_bytes_per_s,
            self.engine.link,
            # A row writes a token of those that it has.
            written_share=self.engine.kv_token_bytes / self.row_bytes,
        )

    def prompt_share(self) -> float:
        """Returns the share of passes with prompts in them, nothing away: they come in whole chunks."""
        tokens = self.job.prompt_tokens - self.job.shared_tokens
        return min(self.near_rows * tokens / self.job.output_tokens / self.engine.chunk_tokens, 1.0)

    def useful_expansion(self) -> float:
        """Returns the expansion from which on prompts fill all passes: rows beyond would wait for theirs."""
        share = self.prompt_share()
        return 1 / share if share else math.inf

    def gain(self, away: int) -> float:
        """Returns rows per second over those with nothing away.

        Copies hide behind each pass by itself: what one with prompts has to spare is of no use to the next.
        """
        expansion = min(self.cost.expansion(away), self.useful_expansion())
        return expansion * self._seconds(0, 1.0) / self._seconds(away, expansion)

    def _seconds(self, away: int, expansion: float) -> float:
        """Of an average pass, with as many times the rows in flight as the device's memory holds."""
        engine, cost = self.engine, self.cost
        read_bytes = engine.weights_bytes + engine.near_bytes * expansion
        decode_s = read_bytes / engine.device_bytes_per_s
        copy_s = cost.copy_s(away) * expansion / cost.expansion(away)
        share = min(expansion * self.prompt_share(), 1.0)
        chunk_s = engine.chunk_tokens * engine.prefill_token_s
        return (1 - share) * max(decode_s, copy_s) + share * max(decode_s + chunk_s, copy_s)

    def decode_share(self) -> float:
        """Returns the share of the time that goes to decoding rather than to prompts."""
        decode_s = self.cost.compute_s(0) * self.job.output_tokens / self.near_rows
        return decode_s / (decode_s + self.prompt_s)

    def fetch_gain(self) -> float:
        """Returns rows per second with returning tokens fetched over those with them computed again."""
        engine, job = self.engine, self.job
        decode_s = self.cost.compute_s(0) * job.output_tokens / self.near_rows
        computed_s = decode_s + self.prompt_s
        saved_s = job.returning_tokens * (engine.prefill_token_s - engine.fetch_token_s())
        return computed_s / (computed_s - saved_s)
