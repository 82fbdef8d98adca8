"""What the JVM asks a worker to do: a call and the settings, as JSON."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pyspark.sql.types import DataType, IntegerType, LongType, StringType, StructType

from spark_llm.conf import Conf, parse_conf
from spark_llm.errors import engine_failed
from spark_llm.worker.layout import Layout, parse_layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

    MapArrow = Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]

SPEC_VERSION: Final = 6


@dataclass(frozen=True, slots=True)
class Call:
    """One ``llm(…)`` of a query.

    Attributes:
        instruction: the constant instruction, None when it comes as a column.
        field_names: names in written order, one per column ``f0`` … ``f{n-1}``.
        return_type: Spark type of the answer.
        seed: None when answers may differ from run to run.
        max_tokens: generated tokens at most, per answer.
        layout: where the fields stand in the prompt.
        provenance: whether answers come with a hash of their prompt.
        kept: whether the JVM keeps answers for later queries, and wants each as soon as it is there.
        reasoning: off, on or auto, as the call says; None: as spark.llm.reasoning.mode says.
        reasoning_budget: thinking tokens of a row at most; None: spark.llm.reasoning.maxThinkingLen.
        labels: whether a column ``label`` has right answers, as the fields are written.
        router_key: name of the query shape, under which its fitted router is kept.
        router: what an earlier run has fitted for it, as JSON.
        rows: that are expected at the call; None where nobody knows.
        models: two names, the cheap one first, which is `model` then; empty for calls with one model.
    """

    instruction: str | None
    field_names: tuple[str, ...]
    model: str | None
    return_type: DataType
    temperature: float
    max_tokens: int
    seed: int | None
    layout: Layout
    provenance: bool = False
    kept: bool = False
    reasoning: str | None = None
    reasoning_budget: int | None = None
    labels: bool = False
    router_key: str = ""
    router: str | None = None
    rows: int | None = None
    models: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """A short name of the question without its row: a hash, as prompts are nobody's business."""
        asked = json.dumps([self.instruction, self.field_names, self.return_type.json()])
        return hashlib.sha256(asked.encode()).hexdigest()[:16]


def load_command(spec_json: str) -> tuple[MapArrow, StructType]:
    """Returns the function that Spark's worker runs and the type of its rows: what the JVM's pickle calls.

    Args:
        spec_json: ``{"version": 6, "call": {…}, "conf": {"spark.llm.…": "…"}}``.

    Raises:
        SparkLLMError: a setting is wrong, or the jar and this package are of different releases.
    """
    call, conf = parse_spec(spec_json)

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from spark_llm.worker.pipeline import run as run_pipeline

        return run_pipeline(call, conf, batches, os.environ)

    return run, result_type(call.return_type)


def parse_spec(spec_json: str) -> tuple[Call, Conf]:
    """Returns the call and the checked settings of a spec."""
    spec = json.loads(spec_json)
    if spec.get("version") != SPEC_VERSION:
        came = spec.get("version")
        raise engine_failed(
            f"the jar speaks version {came} to the workers, this spark_llm package speaks {SPEC_VERSION}; "
            "install the same release of pyspark-llm on the driver and on the executors"
        )
    conf, call = parse_conf(spec.get("conf") or {}), spec["call"]
    models = tuple(call.get("models") or ())
    return (
        Call(
            instruction=call["instruction"],
            field_names=tuple(call["field_names"]),
            model=models[0] if models else call.get("model"),
            return_type=parse_type(call["return_type"]),
            temperature=float(call.get("temperature") or 0.0),
            max_tokens=int(call.get("max_tokens") or conf.integer("spark.llm.maxAnswerLen")),
            seed=call.get("seed"),
            layout=parse_layout(call),
            provenance=bool(call.get("provenance")),
            kept=bool(call.get("kept")),
            reasoning=call.get("reasoning"),
            reasoning_budget=call.get("reasoning_budget"),
            labels=bool(call.get("labels")),
            router_key=call.get("router_key") or "",
            router=call.get("router"),
            rows=call.get("rows"),
            models=models,
        ),
        conf,
    )


def parse_type(type_json: str) -> DataType:
    """Returns the Spark type of what ``DataType.json`` wrote, for example ``'"string"'``."""
    field: dict[str, Any] = {"name": "v", "type": json.loads(type_json), "nullable": True, "metadata": {}}
    return StructType.fromJson({"type": "struct", "fields": [field]}).fields[0].dataType


def result_type(return_type: DataType) -> StructType:
    """Returns the type of the rows that go back to the JVM.

    ``early`` is -1 in the row that answers a question, in the order of the questions. In a row that only says
    what is to be kept, before its turn, it is the number of the question, counted from 0 in each task.
    """
    return (
        StructType()
        .add("value", return_type)
        .add("condition", StringType())
        .add("message", StringType())
        .add("requests", IntegerType())
        .add("prompt_tokens", LongType())
        .add("cached_prompt_tokens", LongType())
        .add("generated_tokens", LongType())
        .add("engine_wait_ms", LongType())
        .add("retries", IntegerType())
        .add("profile", StringType())
        .add("prompt_hash", StringType())
        .add("early", LongType(), nullable=False)
        .add("thinking_tokens", LongType())
        .add("reasoned", IntegerType())
        .add("thinking_cut", IntegerType())
        .add("unasked_thinking", IntegerType())
        .add("reasoning", StringType())
        .add("costly", IntegerType())
        .add("costly_tokens", LongType())
        .add("model", IntegerType())
    )
