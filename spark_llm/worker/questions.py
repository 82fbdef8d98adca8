"""Rows of a batch to questions: NULLs ask nothing, equal rows ask once."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from spark_llm.prompts.render import NULL_FIELD
from spark_llm.worker.dedup import NOT_ASKED, PromptTable, Slot, applies

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

    from spark_llm.conf import Conf
    from spark_llm.engine.types import EngineAnswer
    from spark_llm.worker.command import Call


class Batch:
    """A batch that was read and not yet given back.

    Attributes:
        slots: outcome per row, shape (rows,).
        answers: what the engine said, by the row that asked.
        bytes: size of its fields.
        first: number of its first row in the task, from 0.
        place: answers of the task that must be there before it is done; -1 while rows wait for their window.
        given_back: whether it went to the JVM.
    """

    __slots__ = ("answers", "bytes", "first", "given_back", "place", "slots")

    def __init__(self, first: int, size_bytes: int) -> None:
        self.first = first
        self.given_back = False
        self.slots: list[Slot] = []
        self.answers: dict[int, EngineAnswer] = {}
        self.bytes = size_bytes
        self.place = -1

    def look(self) -> None:
        """Sets ``place`` if all rows are planned."""
        places = [slot.place for slot in self.slots]
        if min(places) >= 0:
            self.place = max(places)


class Question(NamedTuple):
    """One request to be.

    Attributes:
        slot: where its answer goes, shared by equal rows.
        batch: that of the row that asks.
        row: number of that row in the batch.
        instruction: what is asked.
        texts: one ``{"v":VALUE}`` or ``{}`` per field, in written order.
        label: the right answer in the same form, where the call has labels.
    """

    slot: Slot
    batch: Batch
    row: int
    instruction: str
    texts: tuple[str, ...]
    label: str | None = None


class Questions:
    """Finds the questions of a task's batches, before anything is ordered.

    Rows are equal when their instructions and their fields are, whatever field order each would get; values
    of an any_order group may stand in any of its fields.
    """

    def __init__(self, call: Call, conf: Conf) -> None:
        self._call = call
        self._groups = call.layout.any_order
        self._table = PromptTable(conf.integer("spark.llm.dedup.maxAnswers")) if applies(call, conf) else None
        self._rows_read = 0

    def read(self, record_batch: pa.RecordBatch) -> tuple[Batch, list[Question]]:
        """Returns the batch, with a slot per row, and its questions that are new."""
        batch = Batch(self._rows_read, record_batch.nbytes)
        self._rows_read += record_batch.num_rows
        slots, new = batch.slots, list[Question]()
        fields, table = len(self._call.field_names), self._table
        labels = record_batch.column("label").to_pylist() if self._call.labels else None
        for row, (instruction, texts) in enumerate(self._cells(record_batch)):
            if instruction is None or (fields and texts.count(NULL_FIELD) == fields):
                slots.append(NOT_ASKED)
                continue
            slot, first = (Slot(), True) if table is None else table.find(self._key(instruction, texts))
            slots.append(slot)
            if first:
                new.append(Question(slot, batch, row, instruction, texts, labels[row] if labels else None))
        batch.look()
        return batch, new

    def forget_failed(self) -> None:
        """See `PromptTable.forget_failed`."""
        if self._table is not None:
            self._table.forget_failed()

    def _cells(self, record_batch: pa.RecordBatch) -> Iterator[tuple[str | None, tuple[str, ...]]]:
        count, constant = len(self._call.field_names), self._call.instruction
        columns = [record_batch.column(f"f{place}").to_pylist() for place in range(count)]
        rows = zip(*columns, strict=True) if columns else (() for _ in range(record_batch.num_rows))
        if constant is not None:
            return ((constant, texts) for texts in rows)
        return zip(record_batch.column("instruction").to_pylist(), rows, strict=True)

    def _key(self, instruction: str, texts: tuple[str, ...]) -> str:
        # JSON text holds no bare NUL, and the number of fields is fixed: the last NULs are the separators.
        if self._groups:
            texts = tuple(_sorted_groups(texts, self._groups))
        return "\0".join(texts if self._call.instruction is not None else (instruction, *texts))


def _sorted_groups(texts: Sequence[str], groups: Sequence[Sequence[int]]) -> list[str]:
    changed = list(texts)
    for group in groups:
        for place, text in zip(group, sorted(texts[place] for place in group), strict=True):
            changed[place] = text
    return changed
