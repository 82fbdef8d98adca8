"""Our default: per row as many drafts as gain more work per second than they take."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from spark_llm.smartspec.acceptance import Acceptance
from spark_llm.smartspec.marginal import Cost, choose
from spark_llm.smartspec.turnover import Turnover
from spark_llm.smartspec.watch import Watch

if TYPE_CHECKING:
    from spark_llm.costmodel.fit import StepFit
    from spark_llm.costmodel.step_time import DraftTime, StepTime
    from spark_llm.smartspec.acceptance import Chances
    from spark_llm.smartspec.acceptance_by_call import AcceptanceByCall
    from spark_llm.smartspec.marginal import Chosen
    from spark_llm.smartspec.policy import Ints, Step, StepResult

MUST_WIN: Final = 1.02
"""Predicted gain from which on it starts to draft."""
MAY_STAY: Final = 1.005
"""Predicted gain down to which it goes on."""
PROBE_EVERY: Final = 12
"""Steps without drafts after which a few rows are tried."""
PROBE_SHARE: Final = 0.1
"""Of a step's time, what its probes may take."""
PROBE_COST: Final = 0.015
"""Of all time, what probes may take: those of dear drafters are rarer."""
REFIT_EVERY: Final = 32
"""Steps between two fits of the time of a step."""
_MOST_RATIO: Final = 100.0
_DRAINING: Final = 0.95
_NO_TIME_S: Final = 1e-9


class Value:
    """Maximises the rows per second of the whole run; one decision per step, one draft length per row.

    With N rows that decode or could, P prompt tokens and O answer tokens of a row, the best lengths of the
    long run maximise `N·l / T` with `l = 1 + Σ survival / D` tokens per row and step. T holds the decoding
    rows and their drafts, and the prompts that must follow at this rate, `N·l·P/O` tokens; these grow with l
    like the gain, so they leave the optimum where it is without them, as long as all of it fits the chunk:
    `N·(1 + k + l·P/O) ≤ chunk`. Beyond that prompts are what the engine waits for, and drafts only stand
    in their way. So `marginal.choose` gets the decode-only step and this room.

    An answer token is then worth `1/rate` seconds, a prompt token what computing it takes. A step drafts when
    the tokens that it gains are worth more than the seconds it gets longer: with a chunk full of prompts and
    few rows decoding it often is not.

    * A few rows are tried when nothing was drafted for 12 steps, or later where drafting is dear, so that it
      takes at most 1.5 % of the time; while these are accepted often enough to pay, the next step tries
      again.
    * Starts at 2 % predicted gain and stops at 0.5 %, so that it does not swing.
    * A drafter that did not win 2 % over 100 measured steps is off: see `watch.Watch`.
    * When few rows are left a token is worth more, and drafts grow with it.

    Differs from the paper (SmartSpec, arXiv 2406.14066), where prompts had steps of their own, all rows have
    one length, decisions stand for 20 steps and k > 0 must win 10 %. Crediting the prompt tokens of the very
    step at their price in a full chunk was tried: it values answer tokens as if each step waited for them,
    and loses up to 14 % where prompts fill every step.

    Args:
        time: of a step; the first guess where `fit` is given.
        draft: what drafting adds.
        kmax: most draft tokens of a row.
        acceptance: where the estimates are kept, with those of an earlier run if there was one.
        fit: learns the time of a step.

    Attributes:
        acceptance: what was accepted so far.
        turnover: prompt and answer tokens of a row so far.
        gain: predicted work of the last step over its seconds, 1 without drafts.
        goodput_tokens_per_s: predicted rate of generated tokens of the last step.
        watch: what drafting has won in measured time.
    """

    must_win = MUST_WIN
    may_stay = MAY_STAY

    def __init__(
        self,
        time: StepTime,
        draft: DraftTime,
        kmax: int,
        *,
        acceptance: Acceptance | AcceptanceByCall | None = None,
        fit: StepFit | None = None,
    ) -> None:
        self.acceptance = acceptance or Acceptance(kmax)
        self.turnover = Turnover()
        self.watch = Watch()
        self.gain = 1.0
        self.goodput_tokens_per_s = 0.0
        self._time, self._fit, self._kmax = time, fit, kmax
        self._draft = self._draft_prior = draft
        self._draft_ratio = 1.0
        self._seen_steps = 0
        self._positions = np.arange(kmax)[:, None]
        self._drafting = False
        self._probing = False
        self._quiet_steps = self._waited_steps = 0
        self._peak_rows = 0.0
        self._token_value_s = 0.0

    def draft_lengths(self, step: Step) -> Ints:
        """Shape (decoding rows,): k of each row."""
        rows = len(step.slots)
        if not rows:
            return np.zeros(0, np.int64)
        prefill = max(min(step.prefill_tokens, step.chunk_tokens - rows), 0)
        sequences = rows + (-(-step.prefill_rows * prefill // step.prefill_tokens) if prefill else 0)
        plain_s = max(self._time.predict(step.kv_tokens, rows + prefill, sequences, prefill), _NO_TIME_S)
        chosen = self._choose(step)
        step_s, won_s = plain_s, 0.0
        if chosen.drafts:
            displaced = max(chosen.drafts - (step.chunk_tokens - rows - prefill), 0)
            tokens = rows + prefill + chosen.drafts - displaced
            step_s = self._time.predict(step.kv_tokens, tokens, sequences, prefill - displaced)
            step_s += self._draft.predict(step_s, rows, chosen.drafts, int(chosen.lengths.max()))
            won_s = self._token_value_s * chosen.gained - (step_s - plain_s)
            won_s -= self._prompt_token_s * displaced
        self.gain = 1.0 + won_s / plain_s
        self.goodput_tokens_per_s = (rows + chosen.gained) / max(step_s, _NO_TIME_S)
        allowed = self.watch.allows(self.gain)
        if chosen.drafts:
            self._drafting = allowed and self.gain > (self.may_stay if self._drafting else self.must_win)
        if self._drafting and chosen.drafts:
            self._probing, self._quiet_steps = False, 0
            return chosen.lengths
        self._quiet_steps += 1
        lengths = np.zeros(rows, np.int64)
        self._probing = self._quiet_steps > PROBE_EVERY and self._probe(step, plain_s, lengths)
        if self._probing:
            self._waited_steps, self._quiet_steps = self._quiet_steps, 0
        return lengths

    def observe(self, result: StepResult) -> None:
        """Learns acceptance, what drafting costs, and what steps cost where a fit is given."""
        self.acceptance.observe(result)
        self.turnover.observe(result)
        if self._fit is not None:
            self._refit(self._fit, result)
        if not len(result.slots):
            return
        drafted, accepted = int(result.drafted.sum()), int(result.accepted.sum())
        took_s = result.draft_s + self._time.token_s * drafted
        if self._probing and drafted and self._token_value_s * accepted >= took_s:
            # Pays for itself: no need to wait with the next.
            self._quiet_steps = self._waited_steps
        self.watch.observe(
            drafted > 0 and not self._probing,
            saved_s=self._token_value_s * accepted,
            measured_s=result.step_s + result.draft_s,
            plain_s=max(
                self._time.predict(
                    result.kv_tokens, result.tokens - drafted, result.sequences, result.prefill_tokens
                ),
                _NO_TIME_S,
            ),
        )
        if drafted:
            self._learn_draft_time(result, drafted)

    def release(self, slots: Ints) -> None:
        """Forgets rows that finished."""
        self.acceptance.release(slots)
        self.turnover.release(slots)

    @property
    def _prompt_token_s(self) -> float:
        given = self._time.prefill_token_s
        return self._time.token_s if given is None else given

    def _refit(self, fit: StepFit, result: StepResult) -> None:
        fit.add(result.kv_tokens, result.tokens, result.sequences, result.step_s, result.prefill_tokens)
        self._seen_steps += 1
        if self._seen_steps % REFIT_EVERY == 0 and (fitted := fit.fit()) is not None:
            self._time = fitted.step_time

    def _learn_draft_time(self, result: StepResult, drafted: int) -> None:
        rows = int(np.count_nonzero(result.drafted))
        predicted_s = self._draft_prior.predict(result.step_s, rows, drafted, int(result.drafted.max()))
        if predicted_s > 0:
            ratio = min(max(result.draft_s / predicted_s, 0.0), _MOST_RATIO)
            self._draft_ratio += 0.05 * (ratio - self._draft_ratio)
            self._draft = _times(self._draft_prior, self._draft_ratio)

    def _survival(self, step: Step) -> Chances:
        survival = self.acceptance.survival(step.slots, step.forced if step.forced.any() else None)
        if step.drafts.min() < self._kmax:
            survival *= self._positions < step.drafts
        return survival

    def _choose(self, step: Step) -> Chosen:
        """The best lengths for the long run, over as many rows as could decode."""
        time, draft = self._time, self._draft
        rows = len(step.slots)
        all_rows = rows + (step.prefill_rows if step.prefill_tokens else 0)
        share = rows / all_rows
        kv_tokens = step.kv_tokens / share
        decode_s = max(time.predict(kv_tokens, all_rows, all_rows), _NO_TIME_S)
        linear_s = time.kv_s * kv_tokens + time.token_s * all_rows + time.sequence_s * all_rows
        chunk = step.chunk_tokens / all_rows
        # A row's first token comes with its prompt, so that this step of it has no other tokens.
        self._peak_rows = max(all_rows, 0.999 * self._peak_rows)
        drains = not step.prefill_tokens and all_rows < _DRAINING * self._peak_rows
        follows = 0.0 if drains else (self.turnover.prompt_tokens(step) - chunk) / self.turnover.answer_tokens
        room = (chunk - 1.0 - follows) * rows
        cost = Cost(
            step_s=(decode_s + draft.predict(decode_s, all_rows, 1, 0)) * share,
            token_s=time.token_s * (1.0 + draft.share) + draft.token_s,
            free_tokens=int(-linear_s * share / time.token_s) if linear_s < 0 < time.token_s else 0,
            room_tokens=min(room, step.chunk_tokens - rows),
            gain_tokens=max(follows, 0.0),
        )
        survival = self._survival(step)
        if draft.depth_s:
            depth = self._depth(survival, cost)
            survival = survival[:depth]
            cost = replace(cost, step_s=cost.step_s + draft.depth_s * depth * share)
        self._token_value_s = decode_s / all_rows
        chosen = choose(survival, cost)
        if chosen.drafts:
            self._token_value_s = min(self._token_value_s, 1.0 / chosen.tokens_per_s)
        return chosen

    def _depth(self, survival: Chances, cost: Cost) -> int:
        """How deep to draft where each position costs: as if all rows were drafted for to one depth."""
        rows = survival.shape[1]
        gained = np.cumsum(survival.sum(axis=1))
        drafts = np.cumsum((survival > 0).sum(axis=1))
        depths = np.arange(1, len(survival) + 1)
        step_s = cost.step_s + cost.token_s * np.maximum(drafts - cost.free_tokens, 0)
        return 1 + int(np.argmax((rows + gained) / (step_s + self._draft.depth_s * depths)))

    def _probe(self, step: Step, plain_s: float, lengths: Ints) -> bool:
        """Gives some rows one draft token, unless the last ones are too short ago for what it costs."""
        can = np.flatnonzero((step.drafts > 0) & (step.forced == 0))
        affordable = int(PROBE_SHARE * plain_s / max(self._time.token_s, 1e-12))
        can = can[: max(min(affordable, step.chunk_tokens - len(step.slots)), 1)]
        rows = len(can)
        cost_s = self._draft.predict(plain_s, rows, rows, 1) + self._time.token_s * rows
        if not rows or cost_s > PROBE_COST * plain_s * self._quiet_steps:
            return False
        lengths[can] = 1
        return True


def _times(draft: DraftTime, factor: float) -> DraftTime:
    return replace(
        draft,
        base_s=draft.base_s * factor,
        sequence_s=draft.sequence_s * factor,
        token_s=draft.token_s * factor,
        depth_s=draft.depth_s * factor,
        share=draft.share * factor,
    )
