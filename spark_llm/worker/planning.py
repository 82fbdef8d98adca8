"""A window of questions to requests in sending order, by the policy of spark.llm.planner.

    questions ─► order_rows     solver, or one field order and sorted rows, or as they come
              ─► Continuity     what the window before used last goes first
              ─► sending_order  leaders ahead, or runs in turns, where the engine needs it
              ─► prefix_uses    what each prompt shares with later ones, where the engine's cache goes by it
              ─► Planned        a form (field order), a source per field and a prefix group per request

Equal windows give equal plans: the solver is deterministic (but for policy thorough, which works by time) and
nothing else looks at the clock. A retried task therefore renders the same prompts if its rows come in the
same order and in the same batches, which Spark promises for sorted partitions and files, not for a shuffle.
"""

from __future__ import annotations

import logging
from itertools import count
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spark_llm.prompts import Renderer
from spark_llm.prompts.render import NULL_FIELD
from spark_llm.worker.continuity import Continuity
from spark_llm.worker.in_flight import sending_order
from spark_llm.worker.prefix_uses import prefix_uses
from spark_llm.worker.row_plan import RowPlan, as_they_come, sorted_by

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from spark_llm.conf import Conf
    from spark_llm.engine.types import PrefixUse
    from spark_llm.planner import RowOrder
    from spark_llm.prompts import Form
    from spark_llm.worker.command import Call
    from spark_llm.worker.engine_traits import EngineTraits
    from spark_llm.worker.questions import Question

_LOG = logging.getLogger("spark_llm.worker")
_CHARS_PER_TOKEN: Final = 4
# Little to share, and the first query on a machine need not wait for the solver's compiler.
_FEW_QUESTIONS: Final = 32
_INSTRUCTION_COLUMN: Final = "instruction"
_NO_SOLVER: Final = (
    "rows are sorted in the field order of the plan, without the solver, which cannot be loaded (%s): "
    "install numba for the Python workers"
)
_missing: list[str] = []


class Planned(NamedTuple):
    """One request in sending order.

    Attributes:
        question: what is asked.
        form: renders its field order.
        sources: whose value each field gets; None: its own.
        group: prefix group, equal ids side by side unless leaders or runs were moved.
        uses: prefixes that it shares with other requests of the window.
        window: the window's name, which no other has.
    """

    question: Question
    form: Form
    sources: Sequence[int] | None
    group: int
    uses: tuple[PrefixUse, ...] = ()
    window: str = ""

    @property
    def user(self) -> str:
        """The user message; rows without one are no questions."""
        return cast("str", self.form.user(self.question.instruction, self.question.texts, self.sources))


class WindowPlanner:
    """Plans the windows of one task, one after the other.

    Args:
        call: what is asked.
        conf: checked settings.
        order_table: the solver; None: `spark_llm.planner.order_table`, where numba is installed.
    """

    def __init__(self, call: Call, conf: Conf, order_table: Callable[..., RowOrder] | None = None) -> None:
        self._call, self._layout = call, call.layout
        self._renderer = Renderer(call.field_names, call.layout.any_order)
        self._policy = conf.text("spark.llm.planner.policy")
        self._rows_move = conf.flag("spark.llm.reorderRows.enabled")
        self._fields_move = conf.flag("spark.llm.reorderFields.enabled") and self._policy != "original"
        self._system_chars = len(conf.text("spark.llm.systemPrompt"))
        self._order_table = order_table
        self._continuity = Continuity()
        self._next_group = 0
        self._windows = count()
        self._task = uuid4().hex

    @property
    def reorders(self) -> bool:
        """Whether a larger window can be of use: rows move, and there are fields to order them by."""
        return self._rows_move and bool(self._call.field_names)

    def plan(self, questions: Sequence[Question], engine: EngineTraits) -> list[Planned]:
        """Returns the requests of a window in sending order.

        Args:
            questions: new and distinct, in input order, shape (n,).
            engine: who will answer.
        """
        if not questions:
            return []
        plan, continues = self.order_rows(questions, engine.block_tokens) if self.reorders else None, False
        if plan is None:
            plan = as_they_come(len(questions), self._layout.field_order)
        else:
            plan, continues = self._continuity.arrange(plan, questions)
        # A group that goes on keeps its id, and with it its place in the engine's queue.
        groups = _numbered(plan.groups) + self._next_group - (1 if continues and self._next_group else 0)
        self._next_group = int(groups[-1]) + 1
        sent = sending_order(groups, engine.mode, engine.lag)
        forms = [self._renderer.form(order) for order in plan.orders]
        rows, index, ids = plan.rows[sent].tolist(), plan.order_index[sent].tolist(), groups[sent].tolist()
        if plan.sources is None:
            sources: Sequence[Sequence[int] | None] = [None] * len(rows)
        else:
            sources = plan.sources[sent].tolist()
        planned = [
            Planned(questions[row], forms[form], source, group)
            for row, form, source, group in zip(rows, index, sources, ids, strict=True)
        ]
        return self._with_uses(planned, engine.block_tokens) if engine.counts_uses else planned

    def _with_uses(self, planned: list[Planned], block_tokens: int) -> list[Planned]:
        # A token has a character at least, so prefixes of a block lie no closer than this.
        uses = prefix_uses([each.user for each in planned], block_tokens)
        window = f"{self._task} {next(self._windows)}"
        return [each._replace(uses=use, window=window) for each, use in zip(planned, uses, strict=True)]

    def order_rows(self, questions: Sequence[Question], block_tokens: int) -> RowPlan | None:
        """Returns the depth-first plan; None when nothing can be shared."""
        fixed = self._policy == "fixed" and self._has_fixed_order()
        few = self._order_table is None and len(questions) < _FEW_QUESTIONS
        solve = None if fixed or few or not self._fields_move else self._solver()
        if solve is None:
            return sorted_by(questions, self._layout.field_order)
        names = self._columns()
        columns = [_cells([question.texts[place] for question in questions]) for place in range(len(names))]
        first, extra = [names[place] for place in self._layout.first], 0
        if self._call.instruction is None:
            # Prompts begin with it: it is a field that is pinned before all others.
            column, extra = _unused(_INSTRUCTION_COLUMN, names), 1
            columns.insert(0, pa.array([question.instruction for question in questions], pa.string()))
            names, first = [column, *names], [column, *first]
        fields = names[extra:]
        order = solve(
            pa.table(columns, names=names),
            policy=self._policy,
            sets=[[fields[place] for place in group] for group in self._layout.any_order],
            first=first,
            last=[fields[place] for place in self._layout.last],
            instruction_tokens=(self._system_chars + len(self._call.instruction or "")) // _CHARS_PER_TOKEN,
            block_tokens=block_tokens,
            null_is_left_out=True,
        )
        if order.reason:
            return None
        orders = [tuple(p - extra for p in each if p >= extra) for each in np.asarray(order.orders).tolist()]
        slots = None if order.slots is None else np.asarray(order.slots, np.int64)[:, extra:] - extra
        return RowPlan(
            np.asarray(order.row_indices, np.int64),
            orders,
            np.asarray(order.order_index, np.int64),
            slots,
            np.asarray(order.group_index, np.int64),
        )

    def _has_fixed_order(self) -> bool:
        written = tuple(range(len(self._call.field_names)))
        return self._layout.sorted or self._layout.field_order != written

    def _solver(self) -> Callable[..., RowOrder] | None:
        """The solver; None where it cannot be loaded, which is told once per process."""
        if self._order_table is None and not _missing:
            try:
                # The solver's compiler, which it imports where it first needs it.
                import numba  # type: ignore[import-untyped,unused-ignore]  # noqa: F401

                from spark_llm.planner import order_table
                from spark_llm.planner.warm import ensure_compiled

                ensure_compiled()
            except ImportError as error:
                _missing.append(str(error))
                _LOG.warning(_NO_SOLVER, error)
            else:
                self._order_table = order_table
        return self._order_table

    def _columns(self) -> list[str]:
        """Field names, made distinct: they need not be, and the solver tells columns by them."""
        names: list[str] = []
        for name in self._call.field_names:
            names.append(_unused(name, names))
        return names


def _cells(texts: list[str]) -> pa.Array:
    """``{"v":VALUE}`` to VALUE, ``{}`` to null: what the prompt shows of a field."""
    column = pa.array(texts, pa.string())
    values = pc.binary_slice(column.cast(pa.binary()), 5, -1).cast(pa.string())
    return pc.if_else(pc.equal(column, NULL_FIELD), pa.scalar(None, pa.string()), values)


def _unused(name: str, taken: Sequence[str]) -> str:
    while name in taken:
        name += "'"
    return name


def _numbered(groups: Any) -> Any:
    """Ids counted from 0, one more at each change."""
    changes = np.zeros(len(groups), np.int64)
    changes[1:] = groups[1:] != groups[:-1]
    return np.cumsum(changes)
