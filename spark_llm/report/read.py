"""The JSON that catalyst/ReportJson.scala writes, checked and typed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from spark_llm.analyze.folding import Level, Node, PrefixTree
from spark_llm.errors import unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class PrefixLevel:
    """One place in the prompts of a call, over all windows.

    Attributes:
        name: the field that stands here most often, or ``instruction``.
        others: how many other fields stand here.
        requests: that reach this place.
        prefixes: different beginnings up to here, counted per window.
        tokens: prompt tokens at this place.
        reused_tokens: of these, found in the engine's prefix cache.
    """

    name: str
    others: int
    requests: int
    prefixes: int
    tokens: int
    reused_tokens: int


@dataclass(frozen=True, slots=True)
class ErrorCount:
    """Rows that failed alike; the message is None where texts are not to be shown."""

    condition: str
    message: str | None
    rows: int


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the query.

    Attributes:
        number: from 1, in the order in which calls run.
        site: its name in the metric system.
        text: as it is written, instruction shortened.
        model: asked model; None where the engine has but one.
        engine: vllm, openai or fake.
        order: fields as they stand in the prompt.
        order_source: why in this order.
        rows_read: of the largest table below; None where nothing counted them.
        metrics: of its node, by key.
        levels: of its prompts; empty where nothing was asked.
        tree: of the largest window; None where nothing was asked.
        windows: that were looked at.
        errors: the most frequent, largest first.
        reasoning: what the pilot of reasoning => 'auto', or of two models, has found; None without one.
        models: the two of a call between whose models the router chooses, the cheap one first; else none.
    """

    number: int
    site: str
    text: str
    model: str | None
    engine: str
    order: Sequence[str]
    order_source: str
    rows_read: int | None
    metrics: Mapping[str, int]
    levels: Sequence[PrefixLevel]
    tree: PrefixTree | None
    windows: int
    errors: Sequence[ErrorCount]
    reasoning: Mapping[str, Any] | None = None
    models: Sequence[str] = ()

    def count(self, metric: str) -> int:
        """A metric's value; 0 where the release that ran the query did not have it."""
        return self.metrics.get(metric, 0)


@dataclass(frozen=True, slots=True)
class Reading:
    """What was counted at one time.

    Attributes:
        executor: whose engine; ``tasks`` for counts of the query's own tasks.
        at_ms: milliseconds since the epoch.
        values: by vLLM's names.
    """

    executor: str
    at_ms: int
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Memory:
    """How an executor's engine laid out its KV cache: jenga, or grouped, which is vLLM's own, and why.

    `pages` are large pages of the one and blocks of the other.
    """

    executor: str
    allocator: str
    reason: str
    pages: int


@dataclass(frozen=True, slots=True)
class Run:
    """One query."""

    application: str
    application_id: str
    execution: int
    spark: str
    started_ms: int
    ended_ms: int
    failed: bool
    condition: str | None
    budget: str | None
    calls: Sequence[Call]
    tasks: Sequence[Reading]
    engines: Sequence[Reading]
    memory: Sequence[Memory]
    explain: str

    @property
    def seconds(self) -> float:
        """What it took."""
        return max(0, self.ended_ms - self.started_ms) / 1000

    def total(self, metric: str) -> int:
        """Sum over the calls."""
        return sum(call.count(metric) for call in self.calls)


def read_run(path: Path) -> Run:
    """Returns the query of a file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no JSON of a run report.
        SparkLLMError: LLM_UNSUPPORTED, it is of another release.
    """
    try:
        return parse_run(json.loads(path.read_text(encoding="utf-8")))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no data of a run report: {error!r}") from error


def parse_run(data: Mapping[str, Any]) -> Run:
    """Returns the query of parsed JSON."""
    if data["version"] != VERSION:
        raise unsupported(
            f"data of a run report in version {data['version']} (this release reads {VERSION})",
            "Make the page with the release of pyspark-llm that ran the query.",
        )
    return Run(
        data["application"],
        data["application_id"],
        data["execution"],
        data["spark"],
        data["started_ms"],
        data["ended_ms"],
        data["failed"],
        data["condition"],
        data["budget"],
        [_call(each) for each in data["calls"]],
        [_tasks(each) for each in data["history"]],
        [Reading(each["executor"], each["at_ms"], each["metrics"]) for each in data["engines"]],
        [
            Memory(each["executor"], each["allocator"], each["reason"], each["pages"])
            for each in data.get("memory", ())
        ],
        data["explain"],
    )


def _call(data: Mapping[str, Any]) -> Call:
    profile, tree = data["profile"], data["profile"]["tree"]
    errors = [ErrorCount(each["condition"], each["message"], each["rows"]) for each in data["errors"]]
    if not any(each.message for each in errors):
        counts = sorted(data["conditions"].items(), key=lambda pair: -pair[1])
        errors = [ErrorCount(condition, None, rows) for condition, rows in counts]
    return Call(
        data["number"],
        data["site"],
        data["text"],
        data["model"],
        data["engine"],
        data["order"],
        data["order_source"],
        data["rows_read"],
        data["metrics"],
        [_level(each) for each in profile["levels"]],
        _tree(json.loads(tree)) if tree else None,
        profile["windows"],
        errors[:5],
        None if (found := data.get("reasoning")) is None else json.loads(found),
        tuple(data.get("models") or ()),
    )


def _level(data: Mapping[str, Any]) -> PrefixLevel:
    fields = sorted(data["fields"].items(), key=lambda pair: (-pair[1], pair[0]))
    return PrefixLevel(
        fields[0][0],
        len(fields) - 1,
        data["requests"],
        data["prefixes"],
        data["tokens"],
        data["reused_tokens"],
    )


def _tree(data: Mapping[str, Any]) -> PrefixTree:
    levels = tuple(
        Level(
            level["name"], level["mixed"], level["tokens"], level["reused_tokens"],
            tuple(Node(*node) for node in level["nodes"]),
        )
        for level in data["levels"]
    )  # fmt: skip
    return PrefixTree(levels, data["prompt_tokens"])


def _tasks(data: Mapping[str, Any]) -> Reading:
    prompt, cached = data["prompt_tokens"], data["cached_prompt_tokens"]
    values = {
        "prompt_tokens": prompt,
        "generation_tokens": data["generated_tokens"],
        "prefix_cache_queries": prompt,
        "prefix_cache_hits": cached,
    }
    return Reading("tasks", data["at_ms"], values)
