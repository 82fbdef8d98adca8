"""Which rows are worth the costly arm: reasoning on and not off, the large model and not the small; pure.

rows ─► sample    a pilot of 2 % (50 to 300 rows) is answered by both arms
     ─► pilot     gain per row from labels, else from repeated answers; its mean, an interval, tokens
     ─► cascade   the whole query off, on, or per row, with the reason in words and numbers
first pass, cheap arm ─► signals   log-probability, margin, length, parse failure, agreement, text
     ─► router    expected gain (calibrated) and expected extra tokens of each row
     ─► budget    fractional knapsack on gain per extra token, over a table or window by window
second pass, costly arm, rows chosen ─► audit   1 % gets both: where agreement falls, a new pilot

`modes` says how a model is told to reason or not; `policies` names the policies, `semantic_router` is the
published one. Source: arXiv 2510.08731.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spark_llm.router.audit import Audit
    from spark_llm.router.budget import Budget, Stream
    from spark_llm.router.cascade import Cascade, Decision
    from spark_llm.router.modes import Family, family_of
    from spark_llm.router.pilot import Pilot, PilotOutcome
    from spark_llm.router.policies import POLICIES, policy_of
    from spark_llm.router.router import Router
    from spark_llm.router.sample import pilot_rows, pilot_size
    from spark_llm.router.signals import Signals

__all__ = [
    "POLICIES",
    "Audit",
    "Budget",
    "Cascade",
    "Decision",
    "Family",
    "Pilot",
    "PilotOutcome",
    "Router",
    "Signals",
    "Stream",
    "family_of",
    "pilot_rows",
    "pilot_size",
    "policy_of",
]

_HOME = {
    "Audit": "audit",
    "Budget": "budget",
    "Cascade": "cascade",
    "Decision": "cascade",
    "Family": "modes",
    "POLICIES": "policies",
    "Pilot": "pilot",
    "PilotOutcome": "pilot",
    "Router": "router",
    "Signals": "signals",
    "Stream": "budget",
    "family_of": "modes",
    "pilot_rows": "sample",
    "pilot_size": "sample",
    "policy_of": "policies",
}


def __getattr__(name: str) -> Any:
    # numpy comes with what computes, not with whoever only wants the names
    if name in _HOME:
        return getattr(import_module(f"spark_llm.router.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
