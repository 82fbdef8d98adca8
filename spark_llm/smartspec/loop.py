"""One engine's speculation, step by step: who drafts, what was accepted, how long it took.

    before a step   rows that decode ─► Policy: k per row ─► Drafts: at most k tokens each ─► the scheduler
    after it        tokens that came ─► accepted per row ─► Policy.observe, Drafts.observe, Vitals

Knows requests by what it reads of them (`DecodingRequest`) and the engine not at all; the adapter is
`vllm_plugin.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from spark_llm.smartspec.policy import Step, StepResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from spark_llm.costmodel.step_time import StepTime
    from spark_llm.smartspec.acceptance_by_call import AcceptanceByCall
    from spark_llm.smartspec.drafters.drafts import Draft, Drafts, Row
    from spark_llm.smartspec.policy import Ints, Policy

# A look at a grammar costs the engine some 20 µs a row; with more rows forced tokens save less than that.
MOST_FORCED_ROWS: Final = 64


class DecodingRequest(Protocol):
    """What is read of a request: `vllm.v1.request.Request` has it all."""

    request_id: str
    max_tokens: int
    num_prompt_tokens: int
    all_token_ids: Sequence[int]

    @property
    def num_tokens(self) -> int:
        """Prompt and answer so far."""


@dataclass(frozen=True, slots=True)
class Form:
    """What a row's answer looks like.

    Attributes:
        call: rows of one call learn from each other's answers.
        grammar: of the answer (`drafters.forced.Grammar`), None for free text.
    """

    call: str
    grammar: Any = None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a step holds besides its decoding rows; see `Step`.

    Attributes:
        prefill_tokens: prompt tokens that wait.
        prefill_rows: rows that these belong to.
        free_blocks: KV blocks that nobody has.
    """

    prefill_tokens: int
    prefill_rows: int
    free_blocks: int


@dataclass(slots=True)
class _Place:
    """A row's slot, its source of drafts once it had one, and the draft that is being verified."""

    slot: int
    source: Row | None = None
    draft: Draft | None = None


@dataclass(slots=True)
class Limits:
    """What the engine allows.

    Attributes:
        draft_tokens: most draft tokens of a row in a step.
        rows: most rows at once.
        chunk_tokens: most tokens of a step.
        model_len_tokens: longest prompt and answer.
        block_tokens: size of a KV block.
    """

    draft_tokens: int
    rows: int
    chunk_tokens: int
    model_len_tokens: int
    block_tokens: int


class Speculation:
    """The loop between a scheduler, a policy and the drafters.

    Args:
        policy: chooses draft lengths.
        limits: of the engine.
        drafts: makes the drafts; None where a draft model does, on the engine's side.
        now_s: a clock; tests give their own.
        acceptance: learns which call each row belongs to, where it tells calls apart.
        pretend: steps are taken to last as long as this model says, for tests and benchmarks that must not
            depend on the machine.
    """

    def __init__(
        self,
        policy: Policy,
        limits: Limits,
        drafts: Drafts | None,
        now_s: Callable[[], float],
        acceptance: AcceptanceByCall | None = None,
        pretend: StepTime | None = None,
    ) -> None:
        self.policy, self.drafts, self.acceptance = policy, drafts, acceptance
        self._limits, self._now_s, self._pretend = limits, now_s, pretend
        self._rows: dict[str, _Place] = {}
        self._free_slots = list(range(limits.rows - 1, -1, -1))
        self._draft_s = self._began_s = 0.0
        self.decision_s = 0.0

    def lengths(
        self, requests: Sequence[DecodingRequest], around: Surroundings, forms: Sequence[Form]
    ) -> Ints:
        """Shape (requests,): how many tokens each may draft in the coming step.

        Args:
            requests: the rows that decode.
            around: the rest of the step.
            forms: of each row; see `Form`.
        """
        self._admit(requests, forms)
        began = self._now_s()
        forced = self._forced(requests, forms)
        self._draft_s += self._now_s() - began
        began = self._now_s()
        limits = self._limits
        known = np.fromiter((request.num_tokens for request in requests), np.int64, len(requests))
        ends = np.fromiter(
            (request.num_prompt_tokens + request.max_tokens for request in requests), np.int64, len(requests)
        )
        # The step itself gives one token more than drafts are accepted.
        room = np.minimum(ends, limits.model_len_tokens) - known - 1
        if around.free_blocks < len(requests) * (1 + -(-limits.draft_tokens // limits.block_tokens)):
            # Drafts that need a new block would preempt rows that could have run.
            room = np.minimum(room, -known % limits.block_tokens)
        most = np.clip(room, 0, limits.draft_tokens)
        step = Step(
            slots=self._slots(requests),
            drafts=most,
            forced=np.minimum(forced, most),
            kv_tokens=int(known.sum()),
            prefill_tokens=around.prefill_tokens,
            prefill_rows=around.prefill_rows,
            chunk_tokens=limits.chunk_tokens,
        )
        chosen = self._within_chunk(np.minimum(self.policy.draft_lengths(step), most))
        self.decision_s = self._now_s() - began
        return chosen

    def draft(self, request: DecodingRequest, length: int, form: Form) -> list[int]:
        """The draft of a row, at most `length` tokens; empty where the drafters have none."""
        began = self._now_s()
        row = self._rows[request.request_id]
        row.draft = self._source(row, request, form).draft(length)
        self._draft_s += self._now_s() - began
        return list(row.draft.tokens)

    def began(self) -> None:
        """The engine has its work."""
        self._began_s = self._now_s()

    def ended(
        self,
        requests: Sequence[DecodingRequest],
        drafted: Sequence[int],
        accepted: Sequence[int],
        *,
        tokens: int,
        prefill_tokens: int,
        kv_tokens: int,
        sequences: int,
    ) -> StepResult:
        """The engine has done its work; see `StepResult`.

        Args:
            requests: rows that decoded and have not left since.
            drafted: draft tokens of each that were verified.
            accepted: those of them that were right.
            tokens: computed in all.
            prefill_tokens: of prompts, among them.
            kv_tokens: read in all.
            sequences: rows in the step.
        """
        forced = []
        for request, length, right in zip(requests, drafted, accepted, strict=True):
            row = self._rows[request.request_id]
            forced.append(min(row.draft.forced, length) if row.draft is not None else 0)
            if self.drafts is not None and row.draft is not None and length:
                self.drafts.observe(row.draft.first(length), right)
            row.draft = None
        step_s, draft_s = self._now_s() - self._began_s, self._draft_s
        if self._pretend is not None:
            step_s, draft_s = self._pretend.predict(kv_tokens, tokens, sequences, prefill_tokens), 0.0
        result = StepResult(
            slots=self._slots(requests),
            drafted=np.asarray(drafted, np.int64),
            accepted=np.asarray(accepted, np.int64),
            forced=np.asarray(forced, np.int64),
            kv_tokens=kv_tokens,
            tokens=tokens,
            prefill_tokens=prefill_tokens,
            sequences=sequences,
            step_s=step_s,
            draft_s=draft_s,
        )
        self._draft_s = 0.0
        self.policy.observe(result)
        return result

    def finished(self, request: DecodingRequest, call: str, *, whole: bool) -> None:
        """A row has left; its answer teaches the others if it came to its end.

        Args:
            request: the row, with its answer.
            call: see `Form`.
            whole: False when it was aborted.
        """
        if self.drafts is not None and whole:
            self.drafts.learn(call, request.all_token_ids[request.num_prompt_tokens :])
        self._release([request.request_id])

    def _admit(self, requests: Sequence[DecodingRequest], forms: Sequence[Form]) -> None:
        calls = {request.request_id: form.call for request, form in zip(requests, forms, strict=True)}
        new = [name for name in calls if name not in self._rows]
        if len(new) > len(self._free_slots):
            # Rows that were preempted gave their place to others, and begin anew.
            self._release(self._rows.keys() - calls.keys())
        for name in new:
            self._rows[name] = _Place(self._free_slots.pop())
        if self.acceptance is not None and new:
            slots = np.array([self._rows[name].slot for name in new])
            self.acceptance.admit(slots, [calls[name] for name in new])

    def _release(self, names: Iterable[str]) -> None:
        gone = [row.slot for name in names if (row := self._rows.pop(name, None)) is not None]
        self._free_slots += gone
        if gone:
            self.policy.release(np.array(gone))

    def _slots(self, requests: Sequence[DecodingRequest]) -> Ints:
        slots = (self._rows[request.request_id].slot for request in requests)
        return np.fromiter(slots, np.int64, len(requests))

    def _forced(self, requests: Sequence[DecodingRequest], forms: Sequence[Form]) -> Ints:
        forced = np.zeros(len(requests), np.int64)
        constrained = [place for place, form in enumerate(forms) if form.grammar is not None]
        if self.drafts is None or len(constrained) > MOST_FORCED_ROWS:
            return forced
        for place in constrained:
            grammar = forms[place].grammar
            tokens = self.drafts.grammars.forced(grammar, self._limits.draft_tokens)
            if tokens:
                grammar.rollback(len(tokens))
            forced[place] = len(tokens)
        return forced

    def _source(self, place: _Place, request: DecodingRequest, form: Form) -> Row:
        if place.source is None:
            assert self.drafts is not None  # noqa: S101  callers asked
            prompt = request.all_token_ids[: request.num_prompt_tokens]
            place.source = self.drafts.start(prompt, form.call)
        source = place.source
        source.grammar = form.grammar
        source.extend(request.all_token_ids[request.num_prompt_tokens + len(source.answer_ids) :])
        return source

    def _within_chunk(self, lengths: Ints) -> Ints:
        """Cuts the longest drafts until each row has its place in the step."""
        most = self._limits.chunk_tokens - len(lengths)
        while lengths.sum() > max(most, 0) and lengths.max() > 0:
            lengths = np.minimum(lengths, lengths.max() - 1)
        return lengths
