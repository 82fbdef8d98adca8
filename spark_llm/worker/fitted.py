"""What a pilot has found for a query shape: kept as JSON, shared by its tasks, read again by the next run."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from spark_llm.router import Router
from spark_llm.worker.by_text import TextGain

if TYPE_CHECKING:
    from spark_llm.router.cascade import Choice, Decision
    from spark_llm.router.pilot import PilotOutcome

VERSION: Final = 1
FEWEST_THOUGHTS: Final = 10


@dataclass(frozen=True, slots=True)
class Fitted:
    """The decision for a query shape.

    Attributes:
        policy: who decides.
        choice: off, on, or per_row.
        reason: in words and numbers.
        gain: mean gain of thinking over the pilot's rows, a share of the rows.
        low: of its interval; ``high`` is the other end.
        rows: of the pilot.
        basis: what gains were read from: labels, agreement or difference.
        cut_rows: of the pilot, whose thinking was cut off: they are neither right nor wrong.
        extra_tokens: mean of what thinking takes beyond an answer without, per row.
        thinking_tokens: to allow a row's thinking; None: as many as the call allows.
        router: for per_row, where the policy has one that was fitted.
        agreed: rows of the pilot that both modes answered alike.
        by_text: for the policy text: what it decides with.
    """

    policy: str
    choice: Choice
    reason: str
    gain: float
    low: float
    high: float
    rows: int
    basis: str
    cut_rows: int
    extra_tokens: float
    thinking_tokens: int | None
    router: Router | None
    agreed: int
    by_text: TextGain | None = None

    @classmethod
    def of(
        cls,
        policy: str,
        decision: Decision,
        outcome: PilotOutcome,
        router: Router | None,
        agreed: int,
        by_text: TextGain | None = None,
    ) -> Fitted:
        """The summary of a pilot."""
        low, high = outcome.interval()
        gain = outcome.mean_gain()
        gained = int(((outcome.gains > 0) & ~outcome.truncated).sum())
        return cls(
            policy=policy,
            choice=decision.choice,
            reason=decision.reason,
            gain=0.0 if math.isnan(gain) else gain,
            low=low,
            high=high,
            rows=outcome.rows,
            basis=outcome.basis,
            cut_rows=outcome.truncated_rows,
            extra_tokens=float(outcome.extra_tokens.mean()) if outcome.rows else 0.0,
            # Of few thoughts that gained nobody knows how long the next one has to be.
            thinking_tokens=outcome.thinking_budget_tokens() if gained >= FEWEST_THOUGHTS else None,
            router=router,
            agreed=agreed,
            by_text=by_text,
        )

    def to_json(self) -> str:
        """As JSON, for the driver and for files."""
        told: dict[str, Any] = {"version": VERSION}
        for name in self.__slots__:
            told[name] = getattr(self, name)
        told["router"] = None if self.router is None else json.loads(self.router.to_json())
        return json.dumps(told)

    @classmethod
    def from_json(cls, text: str) -> Fitted:
        """From `to_json`.

        Raises:
            ValueError: not such a text, or of another version.
        """
        told = json.loads(text)
        if not isinstance(told, dict) or told.pop("version", None) != VERSION:
            raise ValueError("not a fitted router of this version")
        router, by_text = told.pop("router", None), told.pop("by_text", None)
        try:
            return cls(
                router=None if router is None else Router.from_json(json.dumps(router)),
                by_text=None if by_text is None else TextGain(*by_text),
                **told,
            )
        except TypeError as error:
            raise ValueError(f"not a fitted router: {error}") from error
