"""From the engine's settings to a policy, and what it remembers from run to run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from spark_llm.costmodel.fit import StepFit
from spark_llm.costmodel.presets import H100_8B, NGRAM, PRESETS
from spark_llm.costmodel.step_time import DraftTime, StepTime
from spark_llm.smartspec.acceptance_by_call import AcceptanceByCall
from spark_llm.smartspec.goodput import Goodput
from spark_llm.smartspec.priors import Priors
from spark_llm.smartspec.static import Static
from spark_llm.smartspec.value import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from spark_llm.smartspec.policy import Policy
    from spark_llm.smartspec.priors import Prior

LOOK_UP: Final = "look-up"
SAVE_EVERY_S: Final = 30.0


def pretended(settings: Mapping[str, Any]) -> StepTime | None:
    """The preset that `pretend` names: steps are to last as long as it says."""
    return PRESETS[settings["pretend"]] if "pretend" in settings else None


def policy_of(
    settings: Mapping[str, Any], draft_tokens: int, acceptance: AcceptanceByCall, drafter: str
) -> Policy:
    """The policy that the settings name.

    Args:
        settings: `policy`, `step_time` where it was measured, and `pretend` in tests and benchmarks.
        draft_tokens: most draft tokens of a row.
        acceptance: where it keeps its estimates.
        drafter: `LOOK_UP`, or a draft model, which takes time for every position.
    """
    pretend = pretended(settings)
    measured = StepTime(**settings["step_time"]) if "step_time" in settings else None
    step = pretend or measured or H100_8B
    draft = NGRAM if drafter == LOOK_UP else DraftTime(depth_s=0.1 * step.base_s, share=0.05)
    if settings["policy"] == "fixed":
        return Static(draft_tokens)
    if settings["policy"] == "goodput":
        return Goodput(step, draft, draft_tokens)
    fit = None if pretend is not None else StepFit(step)
    return Value(step, draft, draft_tokens, acceptance=acceptance, fit=fit)


class Memory:
    """Acceptance of each call, with the folder it outlives the engine in.

    Args:
        folder: of `priors.Priors`; None where nothing is kept.
        draft_tokens: most draft tokens of a row.
        drafter: acceptance of one says nothing about another's.
        now_s: seconds since 1970.
    """

    def __init__(
        self, folder: str | None, draft_tokens: int, drafter: str, now_s: Callable[[], float] = time.time
    ) -> None:
        self._priors = Priors(folder) if folder else None
        self._drafter, self._now_s = drafter, now_s
        self._saved_trials: dict[str, int] = {}
        self._next_s = now_s() + SAVE_EVERY_S
        self.acceptance = AcceptanceByCall(draft_tokens, self._prior)

    def save(self, *, now: bool = False) -> None:
        """Writes what was learned since it last did, every half minute or `now`.

        A folder that cannot be written costs the warm start of the next engine, and nothing else.
        """
        if self._priors is None or not (now or self._now_s() >= self._next_s):
            return
        self._next_s = self._now_s() + SAVE_EVERY_S
        for call, each in self.acceptance.items():
            trials = each.trials - self._saved_trials.get(call, 0)
            if call and trials > 0:
                self._priors.learn(call, self._drafter, each.common.tolist(), trials, at_s=self._now_s())
                self._saved_trials[call] = each.trials
        try:
            self._priors.save()
        except OSError:
            self._priors = None

    def _prior(self, call: str) -> Prior | None:
        return self._priors.get(call, self._drafter) if self._priors is not None else None
