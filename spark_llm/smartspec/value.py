"""Our default: per row as many drafts as gain more work per second than they take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from spark_llm.smartspec.acceptance import Acceptance
from spark_llm.smartspec.marginal import Piece, choose
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
    """Maximises work per second, where work is what tokens cost without speculation.

    A generated token is worth `v_d = T(kv, D, D)/D` seconds, D the decoding rows; a prompt token
    `v_p = T(0, chunk, 1)/chunk`. A step that verifies n drafts is worth `v_d·(D + Σ survival) + v_p·p(n)`,
    with `p(n) = min(waiting, chunk − D − n)` the prompt tokens that still fit beside them, and takes the
    predicted time of these tokens and of drafting. Draft lengths are per row: see `marginal.choose`.

    * A few rows are tried when nothing was drafted for 12 steps, within a tenth of that step, so within one per
      cent overall; while these are accepted often enough to pay, the next step tries again.
    * Starts at 2 % predicted gain and stops at 0.5 %, so that it does not swing.
    * A drafter that did not win 2 % over 100 measured steps is off: see `watch.Watch`.
    * When few rows are left `v_d` rises, and the drafts with it.

    Differs from the paper (SmartSpec, arXiv 2406.14066): it counts tokens, which makes prompt tokens that drafts
    displace look free or, inside T, look like a burden; it has one length for all rows; it decides every 20
    steps and asks k > 0 to win 10 %.

    Args:
        time: of a step; the first guess where `fit` is given.
        draft: what drafting adds.
        kmax: most draft tokens of a row.
        prior: acceptance by position of an earlier run.
        prior_trials: how many trials it rests on.
        fit: learns the time of a step.

    Attributes:
        acceptance: what was accepted so far.
        gain: predicted work per second of the last step over that without drafts.
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
        self.watch = Watch()
        self.gain = 1.0
        self.goodput_tokens_per_s = 0.0
        self._time, self._draft, self._kmax, self._fit = time, draft, kmax, fit
        self._positions = np.arange(kmax)[:, None]
        self._drafting = False
        self._probing = False
        self._quiet_steps = 0
        self._least = 1.0

    def draft_lengths(self, step: Step) -> Ints:
        """Shape (decoding rows,): k of each row."""
        rows = len(step.slots)
        if not rows:
            return np.zeros(0, np.int64)
        prefill = max(min(step.prefill_tokens, step.chunk_tokens - rows), 0)
        step_s = self._step_s(step, rows, prefill)
        decode_value, prefill_value = self._values(step.kv_tokens, rows, step.chunk_tokens)
        value = decode_value * rows + prefill_value * prefill
        survival = self._survival(step)
        chosen = self._choose(step, survival, value, step_s, prefill)
        self.gain = chosen.score * step_s / value
        self._least = chosen.least
        wins = self.gain > (self.may_stay if self._drafting else self.must_win)
        self._drafting = self.watch.allows(self.gain) and wins
        lengths = chosen.lengths if self._drafting else self._probes(step, step_s)
        drafts = int(lengths.sum())
        self._probing = not self._drafting and drafts > 0
        self._quiet_steps = 0 if drafts else self._quiet_steps + 1
        return lengths

    def observe(self, result: StepResult) -> None:
        """Learns acceptance, and what steps cost where a fit is given."""
        self.acceptance.observe(result)
        rows = len(result.slots)
        if self._fit is not None:
            self._fit.observe(result.kv_tokens, result.tokens, result.sequences, result.step_s)
            self._time = self._fit.time
        if not rows:
            return
        drafted, accepted = int(result.drafted.sum()), int(result.accepted.sum())
        if self._probing and drafted and accepted >= self._least * drafted:
            # Pays for itself: no need to wait with the next.
            self._quiet_steps = PROBE_EVERY
        without_s = self._time.predict(result.kv_tokens, result.tokens - drafted, result.sequences)
        decode_value, prefill_value = self._values(result.kv_tokens, rows, max(result.tokens, 1))
        before = decode_value * rows + prefill_value * result.prefill_tokens
        self.watch.observe(
            drafted > 0 and not self._probing,
            won=1.0 + decode_value * accepted / before,
            measured_s=result.step_s + result.draft_s,
            without_s=without_s,
        )

    def release(self, slots: Ints) -> None:
        """Forgets rows that finished."""
        self.acceptance.release(slots)

    def _survival(self, step: Step) -> Floats:
        slots = step.slots
        if step.forced.any():
            survival = self.acceptance.after_forced(slots, step.forced)
        else:
            survival = self.acceptance.survival(slots)
        if int(step.drafts.min()) < self._kmax:
            survival *= self._positions < step.drafts
        return survival

    def _step_s(self, step: Step, rows: int, prefill: int) -> float:
        return self._time.predict(step.kv_tokens, rows + prefill, rows + _prefill_rows(step, prefill))

    def _values(self, kv_tokens: int, rows: int, chunk_tokens: int) -> tuple[float, float]:
        """Seconds that a generated token and a prompt token are worth."""
        return (
            self._time.predict(kv_tokens, rows, rows) / rows,
            self._time.predict(0, chunk_tokens, 1) / chunk_tokens,
        )

    def _choose(self, step: Step, survival: Floats, value: float, step_s: float, prefill: int) -> Chosen:
        rows = len(step.slots)
        time, draft = self._time, self._draft
        decode_value, prefill_value = self._values(step.kv_tokens, rows, step.chunk_tokens)
        room = max(step.chunk_tokens - rows - prefill, 0)
        linear_s = (
            time.kv_s * step.kv_tokens
            + time.token_s * (rows + prefill)
            + time.sequence_s * (rows + _prefill_rows(step, prefill))
        )
        free = min(int(-linear_s / time.token_s), room) if linear_s < 0 < time.token_s else 0
        token_s = time.token_s * (1.0 + draft.share) + draft.token_s
        pieces = [
            Piece(free, draft.token_s, 0.0),
            Piece(room, token_s, 0.0),
            Piece(room + prefill, draft.token_s, prefill_value),
        ]
        start_s = step_s + draft.predict(step_s, rows, 1, 0) - draft.token_s
        if not draft.depth_s:
            return choose(survival, value, start_s, decode_value, pieces)
        depth = self._depth(survival, value, start_s, decode_value, token_s)
        return choose(survival[:depth], value, start_s + draft.depth_s * depth, decode_value, pieces)

    def _depth(
        self, survival: Floats, value: float, step_s: float, decode_value: float, token_s: float
    ) -> int:
        """How deep to draft where every position costs: as if all rows drafted to one depth."""
        gained = np.cumsum(survival.sum(axis=1)) * decode_value
        tokens = np.cumsum((survival > 0).sum(axis=1))
        depths = np.arange(1, len(survival) + 1)
        return (
            int(np.argmax((value + gained) / (step_s + token_s * tokens + self._draft.depth_s * depths))) + 1
        )

    def _probes(self, step: Step, step_s: float) -> Ints:
        lengths = np.zeros(len(step.slots), np.int64)
        if self._quiet_steps < PROBE_EVERY:
            return lengths
        can = np.flatnonzero((step.drafts > step.forced) & (step.forced == 0))
        affordable = int(PROBE_SHARE * step_s / max(self._time.token_s, 1e-12))
        spare = step.chunk_tokens - len(step.slots)
        lengths[can[: max(min(affordable, spare), 1)]] = 1
        return lengths


def _prefill_rows(step: Step, prefill: int) -> int:
    if not step.prefill_tokens:
        return 0
    return -(-step.prefill_rows * prefill // step.prefill_tokens)
