"""Our default: per row as many drafts as gain more work per second than they take."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from spark_llm.smartspec.acceptance import Acceptance
from spark_llm.smartspec.marginal import Cost, choose
from spark_llm.smartspec.turnover import Turnover
from spark_llm.smartspec.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spark_llm.costmodel.step_time import DraftTime, StepTime
    from spark_llm.smartspec.acceptance import Floats
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


class Fit(Protocol):
    """Learns what steps cost while the engine runs."""

    def observe(self, kv_tokens: float, tokens: float, sequences: float, seconds: float) -> None:
        """Takes a step."""

    @property
    def time(self) -> StepTime:
        """The fit so far."""


class Value:
    """Maximises the rows per second of the whole run; one decision per step, one draft length per row.

    With N rows that decode or could, P prompt tokens and O answer tokens of a row, the best lengths of the long
    run maximise `N·l / T` with `l = 1 + Σ survival / D` tokens per row and step. T holds the decoding rows
    and their drafts, and the prompts that must follow at this rate, `N·l·P/O` tokens; these grow with l like
    the gain, so they leave the optimum where it is without them, as long as all of it fits the chunk:
    `N·(1 + k + l·P/O) ≤ chunk`. Beyond that prompts are what the engine waits for, and drafts only stand
    in their way. So `marginal.choose` gets the decode-only step and this room.

    An answer token is then worth `1/rate` seconds, a prompt token what computing it takes. A step drafts when
    the tokens that it gains are worth more than the seconds it gets longer: with a chunk full of prompts and
    few rows decoding it often is not.

    * A few rows are tried when nothing was drafted for 12 steps, within a tenth of that step, so within one
      per cent overall; while these are accepted often enough to pay, the next step tries again.
    * Starts at 2 % predicted gain and stops at 0.5 %, so that it does not swing.
    * A drafter that did not win 2 % over 100 measured steps is off: see `watch.Watch`.
    * When few rows are left a token is worth more, and drafts grow with it.

    Differs from the paper (SmartSpec, arXiv 2406.14066): T has no prompts in it, as
    they had steps of their own; one length for all rows; decisions stand for
    20 steps and k > 0 must win 10 %. Crediting the prompt tokens of the very step at their price in a full
    chunk was tried: it values answer tokens as if each step waited for them, and loses up to 14 % where
    prompts fill every step.

    Args:
        time: of a step; the first guess where `fit` is given.
        draft: what drafting adds.
        kmax: most draft tokens of a row.
        prior: acceptance by position of an earlier run.
        prior_trials: how many trials it rests on.
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
        prior: Sequence[float] = (),
        prior_trials: float = 16.0,
        fit: Fit | None = None,
    ) -> None:
        self.acceptance = Acceptance(kmax, prior, prior_trials)
        self.turnover = Turnover()
        self.watch = Watch()
        self.gain = 1.0
        self.goodput_tokens_per_s = 0.0
        self._time, self._draft, self._kmax, self._fit = time, draft, kmax, fit
        self._positions = np.arange(kmax)[:, None]
        self._drafting = False
        self._probing = False
        self._quiet_steps = 0
        self._least = 1.0
        self._token_value_s = 0.0

    def draft_lengths(self, step: Step) -> Ints:
        """Shape (decoding rows,): k of each row."""
        rows = len(step.slots)
        if not rows:
            return np.zeros(0, np.int64)
        prefill = max(min(step.prefill_tokens, step.chunk_tokens - rows), 0)
        sequences = rows + (-(-step.prefill_rows * prefill // step.prefill_tokens) if prefill else 0)
        plain_s = self._time.predict(step.kv_tokens, rows + prefill, sequences)
        chosen = self._choose(step)
        self._token_value_s = 1.0 / chosen.tokens_per_s
        self._least = chosen.least

        spare = step.chunk_tokens - rows - prefill
        displaced = max(chosen.drafts - spare, 0)
        step_s = self._time.predict(step.kv_tokens, rows + prefill + chosen.drafts - displaced, sequences)
        step_s += self._draft.predict(step_s, rows, chosen.drafts, int(chosen.lengths.max()))
        won_s = self._token_value_s * chosen.gained - (step_s - plain_s) - self._time.token_s * displaced
        self.gain = 1.0 + won_s / plain_s
        self.goodput_tokens_per_s = (rows + chosen.gained) / step_s
        wins = self.gain > (self.may_stay if self._drafting else self.must_win)
        allowed = self.watch.allows(self.gain)
        if chosen.drafts:
            self._drafting = allowed and wins
        drafting = self._drafting and chosen.drafts > 0
        lengths = chosen.lengths if drafting else self._probes(step, plain_s)
        drafts = int(lengths.sum())
        self._probing = not drafting and drafts > 0
        self._quiet_steps = 0 if drafts else self._quiet_steps + 1
        return lengths

    def observe(self, result: StepResult) -> None:
        """Learns acceptance, and what steps cost where a fit is given."""
        self.acceptance.observe(result)
        self.turnover.observe(result)
        if self._fit is not None:
            self._fit.observe(result.kv_tokens, result.tokens, result.sequences, result.step_s)
            self._time = self._fit.time
        if not len(result.slots):
            return
        drafted, accepted = int(result.drafted.sum()), int(result.accepted.sum())
        if self._probing and drafted and accepted >= self._least * drafted:
            # Pays for itself: no need to wait with the next.
            self._quiet_steps = PROBE_EVERY
        self.watch.observe(
            drafted > 0 and not self._probing,
            saved_s=self._token_value_s * accepted,
            measured_s=result.step_s + result.draft_s,
            plain_s=self._time.predict(result.kv_tokens, result.tokens - drafted, result.sequences),
        )

    def release(self, slots: Ints) -> None:
        """Forgets rows that finished."""
        self.acceptance.release(slots)
        self.turnover.release(slots)

    def _survival(self, step: Step) -> Floats:
        survival = self.acceptance.survival(step.slots, step.forced if step.forced.any() else None)
        if int(step.drafts.min()) < self._kmax:
            survival *= self._positions < step.drafts
        return survival

    def _choose(self, step: Step) -> Chosen:
        """The best lengths for the long run, over as many rows as could decode."""
        time, draft = self._time, self._draft
        rows = len(step.slots)
        all_rows = rows + step.prefill_rows
        share = rows / all_rows
        kv_tokens = step.kv_tokens / share
        decode_s = time.predict(kv_tokens, all_rows, all_rows)
        linear_s = time.kv_s * kv_tokens + time.token_s * all_rows + time.sequence_s * all_rows
        chunk = step.chunk_tokens / all_rows
        # A row's first token comes with its prompt, so that this step of it has no other tokens.
        follows = (self.turnover.prompt_tokens(step) - chunk) / self.turnover.answer_tokens
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
        chosen = choose(survival, cost)
        plain = rows / (decode_s * share)
        return chosen if chosen.tokens_per_s > plain else replace(chosen, tokens_per_s=plain)

    def _depth(self, survival: Floats, cost: Cost) -> int:
        """How deep to draft where each position costs: as if all rows were drafted for to one depth."""
        rows = survival.shape[1]
        gained = np.cumsum(survival.sum(axis=1))
        drafts = np.cumsum((survival > 0).sum(axis=1))
        depths = np.arange(1, len(survival) + 1)
        step_s = cost.step_s + cost.token_s * np.maximum(drafts - cost.free_tokens, 0)
        return 1 + int(np.argmax((rows + gained) / (step_s + self._draft.depth_s * depths)))

    def _probes(self, step: Step, step_s: float) -> Ints:
        lengths = np.zeros(len(step.slots), np.int64)
        if self._quiet_steps < PROBE_EVERY:
            return lengths
        can = np.flatnonzero((step.drafts > step.forced) & (step.forced == 0))
        affordable = int(PROBE_SHARE * step_s / max(self._time.token_s, 1e-12))
        spare = step.chunk_tokens - len(step.slots)
        lengths[can[: max(min(affordable, spare), 1)]] = 1
        return lengths
