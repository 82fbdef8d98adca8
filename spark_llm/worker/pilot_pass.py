"""The pilot's rows in both modes, gathered over the first slices of a task, and what is fitted to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from spark_llm.router import Cascade, Decision, Pilot, Router, pilot_rows, pilot_size
from spark_llm.router.sample import FEWEST
from spark_llm.worker.by_text import TextGain
from spark_llm.worker.first_pass import row_text, signals_of
from spark_llm.worker.fitted import Fitted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spark_llm.engine.types import EngineAnswer, EngineRequest
    from spark_llm.router import Budget, PilotOutcome, Signals
    from spark_llm.worker.first_pass import AnswerReader

FEWEST_AT_THE_END: Final = 20
TEXT: Final = "text"


class PilotPass:
    """Gathers a pilot.

    Args:
        reader: of the call's answers.
        policy: who is to decide.
        shape: name of the query shape.
        budget: of the query.
        rows: of the query, where known.
        whole_cost: the costly arm costs what it generates, not what it generates beyond the cheap one.
    """

    def __init__(
        self,
        reader: AnswerReader,
        policy: str,
        shape: str,
        budget: Budget | None,
        rows: int | None,
        *,
        whole_cost: bool = False,
    ) -> None:
        self._reader, self._policy, self._shape = reader, policy, shape
        self._budget, self._rows, self._whole_cost = budget, rows, whole_cost
        self._requests: list[EngineRequest] = []
        self._labels: list[str | None] = []
        self._cheap: list[EngineAnswer] = []
        self._costly: list[list[EngineAnswer]] = []

    @property
    def gathered(self) -> int:
        """Rows so far."""
        return len(self._requests)

    @property
    def enough(self) -> bool:
        """Whether there are as many as a pilot needs."""
        return self.gathered >= FEWEST

    def pick(self, requests: Sequence[EngineRequest]) -> list[int]:
        """Returns the rows of a slice that the pilot still needs; labelled ones where there are enough."""
        size = pilot_size(max(self._rows or 0, FEWEST, len(requests))) - self.gathered
        known = [row for row, each in enumerate(requests) if self._reader.label(each.label) is not None]
        among = known if len(known) >= size else list(range(len(requests)))
        texts = [row_text(requests[row]) for row in among]
        picked = pilot_rows(texts, size, lengths=[float(len(text)) for text in texts])
        return [among[int(place)] for place in picked]

    def in_doubt(
        self,
        requests: Sequence[EngineRequest],
        cheap: Sequence[EngineAnswer],
        thought: Sequence[EngineAnswer],
    ) -> list[int]:
        """Returns the rows that have to think once more to say who is right: both modes differ, and no label.

        Where all rows have labels nobody is in doubt; where both modes agree thinking has gained nothing.
        """
        if all(self._reader.label(each.label) is not None for each in requests):
            return []
        pairs = zip(cheap, thought, strict=True)
        return [row for row, (a, b) in enumerate(pairs) if self._reader.answer(a) != self._reader.answer(b)]

    def add(
        self,
        requests: Sequence[EngineRequest],
        cheap: Sequence[EngineAnswer],
        thought: Sequence[EngineAnswer],
        draws: Mapping[int, EngineAnswer],
    ) -> None:
        """Takes rows.

        Args:
            requests: shape (rows,).
            cheap: answers without thinking, shape (rows,).
            thought: answers with thinking, shape (rows,).
            draws: other answers with thinking, of rows in doubt.
        """
        self._requests += requests
        self._labels += [self._reader.label(each.label) for each in requests]
        self._cheap += cheap
        self._costly += [[each, draws.get(row, each)] for row, each in enumerate(thought)]

    def fit(self) -> tuple[Fitted, list[bool]]:
        """Returns what is fitted, and for each gathered row whether it would have been chosen to think."""
        values = [self._reader.answer(each) for each in self._cheap]
        thought = [[self._reader.answer(each) for each in draws] for draws in self._costly]
        outcome = Pilot(
            cheap_answers=values,
            costly_answers=thought,
            cheap_tokens=[0 if self._whole_cost else each.generated_tokens for each in self._cheap],
            costly_tokens=[draws[0].generated_tokens for draws in self._costly],
            thinking_tokens=[draws[0].thinking_tokens for draws in self._costly],
            truncated=[[each.thinking_cut for each in draws] for draws in self._costly],
            labels=self._labels if any(label is not None for label in self._labels) else None,
            same=str.__eq__,
        ).outcome()
        signals = signals_of(self._requests, self._cheap, values)
        agreed = sum(one is not None and one == draws[0] for one, draws in zip(values, thought, strict=True))
        if self._policy == TEXT:
            by_text = TextGain.fit(signals, outcome)
            decision = Decision("per_row", "per row, by its text")
            think = by_text.choose([row_text(each) for each in self._requests], self._budget)
            return Fitted.of(self._policy, decision, outcome, None, agreed, by_text), think
        router = _router(signals, outcome, self._shape)
        decision = Cascade().decide_query(outcome, router, self._budget, self._rows)
        if decision.choice != "per_row" or router is None:
            on = decision.choice == "on"
            return Fitted.of(self._policy, decision, outcome, None, agreed), [on] * len(values)
        chosen = router.choose(signals, self._budget)
        return Fitted.of(self._policy, decision, outcome, router, agreed), [bool(each) for each in chosen]


def _router(signals: Signals, outcome: PilotOutcome, shape: str) -> Router | None:
    """The router of a pilot; None where too few of its rows could be scored."""
    try:
        return Router.fit(signals, outcome, shape=shape)
    except ValueError:
        return None
