"""What `spark-llm memory` prints, and its figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spark_llm.analyze.numbers import percent
from spark_llm.analyze.text import table
from spark_llm.cache.text import size
from spark_llm.jenga.choose import choose
from spark_llm.jenga.grouped import grouped_layout
from spark_llm.jenga.pages import plan_pages
from spark_llm.jenga.specs import LayerType
from spark_llm.jenga.waste import GROUPED, JENGA, POLICIES, waste

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spark_llm.jenga.choose import Choice
    from spark_llm.jenga.specs import KVSpec
    from spark_llm.jenga.waste import Length, Waste


@dataclass(frozen=True, slots=True)
class MemoryReport:
    """What requests of a model take.

    Attributes:
        model: name of the config file.
        specs: types of the model.
        cases: what is asked about, and lengths of its requests.
        memory_bytes: memory for keys, values and states.
        block_tokens: the engine's block.
    """

    model: str
    specs: tuple[KVSpec, ...]
    cases: tuple[tuple[str, tuple[Length, ...]], ...]
    memory_bytes: int
    block_tokens: int

    def wastes(self, lengths: Sequence[Length]) -> list[Waste]:
        """Returns the memory under each layout."""
        return [
            waste(self.specs, lengths, policy, block_tokens=self.block_tokens, memory_bytes=self.memory_bytes)
            for policy in POLICIES
        ]

    def choice(self, lengths: Sequence[Length]) -> Choice:
        """Returns what `auto` would take."""
        return choose(self.specs, lengths, self.memory_bytes, block_tokens=self.block_tokens)

    def data(self) -> dict[str, Any]:
        """Returns the figures for JSON."""
        return {
            "model": self.model,
            "memory_bytes": self.memory_bytes,
            "cases": [
                {
                    "requests": name,
                    "allocator": self.choice(lengths).allocator,
                    "reason": self.choice(lengths).reason,
                    "layouts": [
                        {
                            "layout": found.policy,
                            "needed_bytes": found.needed_bytes,
                            "taken_bytes": found.taken_bytes,
                            "waste": found.share,
                            "concurrency": found.concurrency(self.memory_bytes),
                        }
                        for found in self.wastes(lengths)
                    ],
                }
                for name, lengths in self.cases
            ],
        }


def memory_text(report: MemoryReport) -> str:
    """Returns the report, ending with a line break."""
    return "\n\n".join([_about(report), _layouts(report), *_verdicts(report)]) + "\n"


def _about(report: MemoryReport) -> str:
    rows = [
        [
            f"{spec.layers} {spec.type}",
            size(spec.unit_bytes),
            "state" if spec.type is LayerType.STATE_SPACE else "token",
            f"{spec.window_tokens:,} tokens" if spec.window_tokens else "",
        ]
        for spec in report.specs
    ]
    layers = sum(spec.layers for spec in report.specs)
    return f"{report.model}: {layers} layers that keep something\n" + table(
        ["layers", "of one layer", "per", "window"], rows
    )


def _layouts(report: MemoryReport) -> str:
    head = ["requests", "layout", "per request", "unused", f"fit in {size(report.memory_bytes)}"]
    rows = [
        [
            name if at == 0 else "",
            found.policy,
            size(round(found.taken_bytes)),
            percent(max(found.share, 0.0)),
            f"{found.concurrency(report.memory_bytes):,}",
        ]
        for name, lengths in report.cases
        for at, found in enumerate(report.wastes(lengths))
    ]
    return table(head, rows)


def _verdicts(report: MemoryReport) -> list[str]:
    plan = plan_pages(report.specs, block_tokens=report.block_tokens, memory_bytes=report.memory_bytes)
    theirs = grouped_layout(report.specs, report.block_tokens)
    small = ", ".join(
        f"{ratio} × {size(pages)}" for ratio, pages in zip(plan.ratios, plan.small_bytes, strict=True)
    )
    padding = f", {theirs.padding_layers} layers of padding" if theirs.padding_layers else ""
    groups = sum(theirs.groups)
    pages = plan.large_pages(report.memory_bytes)
    lines = (
        f"{GROUPED}  {groups} group{'s' * (groups > 1)} of {theirs.group_layers} layers{padding}, "
        f"blocks of {max(theirs.block_tokens):,} tokens: prefixes hit in steps of as many\n"
        f"{JENGA}    {pages:,} large pages of {size(plan.large_bytes)} ({small}); "
        f"prefixes hit in steps of {report.block_tokens} tokens"
    )
    choices = [
        f"auto     {name}: {choice.allocator}, {choice.reason}"
        for name, lengths in report.cases
        for choice in (report.choice(lengths),)
    ]
    return [lines, "\n".join(choices)]
