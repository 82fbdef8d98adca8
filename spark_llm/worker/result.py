"""Outcomes of a batch's rows to the Arrow batch that goes back to the JVM."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from spark_llm.worker.arrow_types import arrow_type

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyspark.sql.types import StructType

    from spark_llm.engine.types import EngineAnswer
    from spark_llm.worker.dedup import Slot
    from spark_llm.worker.questions import Question


class ResultWriter:
    """Writes the batches of one call.

    Args:
        row_type: `command.result_type` of the call.
    """

    def __init__(self, row_type: StructType) -> None:
        fields = [
            pa.field(field.name, arrow_type(field.dataType), field.nullable) for field in row_type.fields
        ]
        self._schema = pa.schema(fields)

    def write(
        self,
        slots: Sequence[Slot],
        answers: Mapping[int, EngineAnswer],
        engine_wait_ms: int,
        profile: str | None = None,
    ) -> pa.RecordBatch:
        """Returns one row per slot.

        Args:
            slots: outcome per row, shape (rows,); duplicates hold the same slot.
            answers: what the engine said, by the row that asked; other rows cost nothing.
            engine_wait_ms: how long the task stood still for this batch; put on its first row, so that sums
                are right.
            profile: a summary for the run report (see `profile`), put on the first row.
        """
        return self._batch(
            slots, answers, [engine_wait_ms, *[0] * (len(slots) - 1)], profile, [-1] * len(slots)
        )

    def write_early(self, questions: Sequence[Question]) -> pa.RecordBatch:
        """Returns a row per question that is answered while its batch waits for others; see `result_type`."""
        return self._batch(
            [each.slot for each in questions],
            {row: each.batch.answers[each.row] for row, each in enumerate(questions)},
            [0] * len(questions),
            None,
            [each.batch.first + each.row for each in questions],
        )

    def _batch(
        self,
        slots: Sequence[Slot],
        answers: Mapping[int, EngineAnswer],
        wait_ms: list[int],
        profile: str | None,
        early: list[int],
    ) -> pa.RecordBatch:
        rows = len(slots)
        requests, prompt, cached, generated, retries = ([0] * rows for _ in range(5))
        thinking, reasoned, cut, unasked, costly, costly_tokens = ([0] * rows for _ in range(6))
        for row, answer in answers.items():
            requests[row] = answer.passes
            prompt[row] = answer.prompt_tokens
            cached[row] = answer.cached_prompt_tokens
            generated[row] = answer.generated_tokens
            retries[row] = answer.retries
            thinking[row] = answer.thinking_tokens
            reasoned[row], cut[row] = (
                int(answer.reasoned),
                int(answer.thinking_cut or answer.other_thinking_cut),
            )
            unasked[row] = int(answer.unasked_thinking)
            costly[row], costly_tokens[row] = int(answer.costly), answer.costly_tokens
        if any(slot.condition is not None for slot in slots):
            condition = [slot.condition for slot in slots]
            message = [None if slot.message is None else _utf8(slot.message) for slot in slots]
        else:
            condition = message = [None] * rows
        columns = (
            [slot.value for slot in slots], condition, message, requests, prompt, cached, generated,
            wait_ms, retries, [profile, *[None] * (rows - 1)],
            [slot.prompt_hash for slot in slots], early, thinking, reasoned, cut, unasked,
            [slot.reasoning for slot in slots], costly, costly_tokens, [slot.model for slot in slots],
        )  # fmt: skip
        arrays = [pa.array(column, field.type) for column, field in zip(columns, self._schema, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)


def _utf8(text: str) -> str:
    return text if text.isascii() else text.encode(errors="replace").decode()
