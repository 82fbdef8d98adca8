"""From a table on disk to everything that the report says."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from spark_llm.analyze.blocks import level_tokens, prompt_blocks
from spark_llm.analyze.cache import reused_tokens
from spark_llm.analyze.cells import cut_into_cells, head_text
from spark_llm.analyze.duplicates import DuplicateCounter, DuplicateReport
from spark_llm.analyze.fields import FieldCounter, FieldReport, reused_by_field
from spark_llm.analyze.folding import PrefixTree
from spark_llm.analyze.orders import Requests, as_written, from_plan
from spark_llm.analyze.squares import squared_length
from spark_llm.analyze.tokenizer import Tokenizer
from spark_llm.analyze.tree import CLOSER_REQUESTS, prefix_tree, typical_window

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pyarrow as pa

    from spark_llm.analyze.cells import Cells
    from spark_llm.analyze.read import Source

WRITTEN: Final = "as written"
FIXED: Final = "fixed order"
PLANNED: Final = "planned"
DISTINCT: Final = "planned, equal rows once"
_SHOWN_FIELDS: Final = 6
_OFTEN_SHARE: Final = 0.05


@dataclass(frozen=True, slots=True)
class Question:
    """What would be asked.

    Attributes:
        instruction: the first argument of ``llm()``.
        sets: groups of fields whose values may change places.
        first: fields that stay first.
        last: fields that stay last.
        policy: how `spark_llm.planner.order_table` plans.
        in_flight: requests that are prefilled together without sharing.
        cache_tokens: size of the prefix cache.
        block_tokens: tokens per block of it.
    """

    instruction: str
    sets: tuple[tuple[str, ...], ...] = ()
    first: tuple[str, ...] = ()
    last: tuple[str, ...] = ()
    policy: str = "default"
    in_flight: int = 0
    cache_tokens: int = 40_000
    block_tokens: int = 16


@dataclass(slots=True)
class OrderReport:
    """One order, all chunks added up.

    Attributes:
        name: one of the constants above.
        requests: how many are sent.
        prompt_tokens: their tokens.
        reused_tokens: of these, found in the cache.
        reused_unlimited_tokens: the same with a cache without a limit.
        squared_chars: the published count of squared lengths of reused cells (arXiv 2403.05821, section 3).
        squared_share: its share of the table's sum of squared lengths.
        field_order: the order of fields used most, as text.
    """

    name: str
    requests: int = 0
    prompt_tokens: int = 0
    reused_tokens: int = 0
    reused_unlimited_tokens: int = 0
    squared_chars: int = 0
    squared_share: float = 0.0
    field_order: str = ""

    @property
    def compute_tokens(self) -> int:
        """Prompt tokens left to compute."""
        return self.prompt_tokens - self.reused_tokens

    @property
    def compute_unlimited_tokens(self) -> int:
        """The same with a cache without a limit."""
        return self.prompt_tokens - self.reused_unlimited_tokens

    @property
    def reused_share(self) -> float:
        """Share of the prompt tokens found in the cache."""
        return self.reused_tokens / self.prompt_tokens if self.prompt_tokens else 0.0


@dataclass(slots=True)
class Analysis:
    """What `spark-llm analyze` found.

    Attributes:
        table: file name.
        rows: its rows.
        fields: the call's fields, in written order.
        question: what would be asked.
        counted: how tokens are counted.
        head_tokens: tokens before the first field.
        chunks: parts that were planned by themselves.
        orders: what each order costs, by name.
        field_reports: what each field holds.
        duplicates: what asking equal questions once saves.
        method: the planner's method that won.
        reason: why rows and fields are as they came; empty when they are not.
        trees: prefix trees of the first chunk, as written and as planned.
        closer: some requests in a row of the plan, where there are more than fit in a picture.
    """

    table: str
    rows: int
    fields: tuple[str, ...]
    question: Question
    counted: str
    head_tokens: int = 0
    chunks: int = 0
    orders: dict[str, OrderReport] = field(default_factory=dict)
    field_reports: list[FieldReport] = field(default_factory=list)
    duplicates: list[DuplicateReport] = field(default_factory=list)
    method: str = ""
    reason: str = ""
    trees: dict[str, PrefixTree] = field(default_factory=dict)
    closer: PrefixTree | None = None

    @property
    def shareable_tokens(self) -> int:
        """More than this can never be reused: head and repeated values, whatever the order."""
        head = self.head_tokens * max(self.rows - 1, 0)
        return head + sum(report.repeated_tokens for report in self.field_reports)

    def data(self) -> dict[str, Any]:
        """Returns the figures as plain data for JSON, without the trees."""
        orders = [
            asdict(o)
            | {
                "compute_tokens": o.compute_tokens,
                "compute_unlimited_tokens": o.compute_unlimited_tokens,
                "reused_share": o.reused_share,
            }
            for o in self.orders.values()
        ]
        return {
            "table": self.table,
            "rows": self.rows,
            "fields": list(self.fields),
            "question": asdict(self.question),
            "counted": self.counted,
            "head_tokens": self.head_tokens,
            "chunks": self.chunks,
            "method": self.method,
            "reason": self.reason,
            "shareable_tokens": self.shareable_tokens,
            "orders": orders,
            "field_reports": [asdict(f) | {"unique": f.unique} for f in self.field_reports],
            "duplicates": [asdict(d) | {"saved_share": d.saved_share} for d in self.duplicates],
        }


@dataclass(frozen=True, slots=True)
class PlannedChunk:
    """A chunk of the table with its plan.

    Attributes:
        table: the rows, in written order.
        first_row: number of its first row in the whole table.
        ids: int32 (n_rows, n_fields), ids of its cells.
        requests: the plan, duplicates included.
    """

    table: pa.Table
    first_row: int
    ids: np.ndarray[Any, np.dtype[np.int32]]
    requests: Requests


def analyze(
    source: Source,
    question: Question,
    tokenizer: Tokenizer,
    on_planned: Callable[[PlannedChunk], None] | None = None,
    chunk_rows: int | None = None,
) -> Analysis:
    """Analyses a table, chunk by chunk.

    Args:
        source: the table.
        question: what would be asked.
        tokenizer: makes the tokens.
        on_planned: called with each chunk's plan, for files written on the way.
        chunk_rows: at most so many rows in a chunk; None for the limits of `Source.chunks`.
    """
    found = Analysis(str(source.path.name), source.rows, source.fields, question, tokenizer.note)
    fields, duplicates = FieldCounter(source.fields), DuplicateCounter(source.fields)
    at = 0
    for table in source.chunks(chunk_rows):
        cells = cut_into_cells(table, tokenizer, head_text(question.instruction), question.sets)
        found.head_tokens = cells.head_tokens
        fields.add(cells)
        duplicates.add(cells.ids)
        planned = _add_orders(found, fields, table, cells, tokenizer)
        if on_planned is not None:
            on_planned(PlannedChunk(table, at, cells.ids, planned))
        at += table.num_rows
        found.chunks += 1
    for report in found.orders.values():
        report.squared_share = report.squared_chars / max(fields.squared_total, 1)
    found.field_reports, found.duplicates = fields.reports(), duplicates.reports()
    return found


def _add_orders(
    found: Analysis, fields: FieldCounter, table: pa.Table, cells: Cells, tokenizer: Tokenizer
) -> Requests:
    """Plans and scores one chunk; returns the plan."""
    from spark_llm.planner import order_table

    question = found.question
    kept: dict[str, Any] = {
        "first": question.first,
        "last": question.last,
        "instruction_tokens": cells.head_tokens,
        "block_tokens": question.block_tokens,
        "count_tokens": tokenizer.counter(),
        "null_is_left_out": True,
    }
    fixed = order_table(table, policy="fixed", **kept)
    plan = order_table(
        table, policy=question.policy, sets=question.sets, in_flight=question.in_flight, **kept
    )
    found.method, found.reason = plan.policy, plan.reason
    planned = from_plan(plan)
    orders = {WRITTEN: as_written(*cells.ids.shape), FIXED: from_plan(fixed), PLANNED: planned}
    distinct = planned.without_duplicates(cells.ids)
    if len(distinct.rows) < len(planned.rows) or DISTINCT in found.orders:
        orders[DISTINCT] = distinct
    for name, requests in orders.items():
        report = found.orders.setdefault(name, OrderReport(name))
        blocks = prompt_blocks(cells, requests, question.block_tokens)
        reused = reused_tokens(blocks, question.cache_tokens, question.in_flight)
        report.requests += len(requests.rows)
        report.prompt_tokens += int(blocks.prompt_tokens.sum())
        report.reused_tokens += int(reused.sum())
        report.reused_unlimited_tokens += int(reused_tokens(blocks, 0, question.in_flight).sum())
        report.squared_chars += squared_length(cells, requests)
        report.field_order = report.field_order or _most_used(cells.fields, requests)
        tokens = level_tokens(cells, requests)
        fields.add_reused(
            name,
            reused_by_field(tokens, reused, cells.head_tokens, requests.orders[requests.order_index]),
        )
        if name in {WRITTEN, PLANNED} and name not in found.trees:
            # the written order is drawn at half the width
            share = 1 / 3 if name == WRITTEN else 1 / 8
            found.trees[name] = prefix_tree(cells, requests, blocks, reused, None, share)
        if name == PLANNED and found.closer is None and len(requests.rows) > CLOSER_REQUESTS:
            window = typical_window(blocks, reused)
            found.closer = prefix_tree(cells, requests, blocks, reused, window)
    return planned


def _most_used(fields: Sequence[str], requests: Requests) -> str:
    counts = np.bincount(requests.order_index, minlength=len(requests.orders))
    top = int(counts.argmax())
    names = [fields[at] for at in requests.orders[top]]
    more = f", … {len(names) - _SHOWN_FIELDS} more" if len(names) > _SHOWN_FIELDS + 1 else ""
    shown = ", ".join(names if not more else names[:_SHOWN_FIELDS]) + more
    if len(requests.orders) == 1:
        return shown
    share = counts[top] / max(len(requests.rows), 1)
    often = f" ({100 * share:.0f} % of the requests)" if share >= _OFTEN_SHARE else ""
    return f"{len(requests.orders):,} field orders, most often {shown}{often}"
