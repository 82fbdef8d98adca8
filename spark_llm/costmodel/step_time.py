"""The time of one engine step as a linear function of what is in it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepTime:
    """`T = kv_s·kv_tokens + token_s·tokens + sequence_s·sequences + base_s`, never below `base_s`.

    Prompt tokens among `tokens` cost `prefill_token_s` instead, where that is given.

    Source: SmartSpec (arXiv 2406.14066) section 4, and its fits as published with the code.
    Differs from the paper: the floor. Published fits have a negative `sequence_s` (it is collinear with
    `token_s` in decode-like profiles), which extrapolates to negative times at large batches. And the price
    of prompt tokens: a profile of decoding says little of them, since few tokens a row ride along with the
    weights that are read anyway, while a chunk of a prompt is bound by arithmetic; the published fit would
    need 88 % of an H100's peak for it.

    Attributes:
        kv_s: seconds per KV token that attention reads.
        token_s: seconds per token in the batch.
        sequence_s: seconds per sequence; may be negative.
        base_s: seconds of an empty step.
        prefill_token_s: seconds per prompt token in the batch; None: as any other.
    """

    kv_s: float
    token_s: float
    sequence_s: float
    base_s: float
    prefill_token_s: float | None = None

    def predict(
        self, kv_tokens: float, tokens: float, sequences: float, prefill_tokens: float = 0.0
    ) -> float:
        """Seconds of a step.

        Args:
            kv_tokens: tokens whose keys and values the step reads, over all sequences.
            tokens: tokens computed in the step: prefill chunk, one per decoding row, and drafts to verify.
                Prompt tokens found in the prefix cache are not among them.
            sequences: rows in the step.
            prefill_tokens: prompt tokens among `tokens`.
        """
        linear = self.kv_s * kv_tokens + self.token_s * tokens + self.sequence_s * sequences
        if self.prefill_token_s is not None:
            linear += (self.prefill_token_s - self.token_s) * prefill_tokens
        return max(self.base_s, linear + self.base_s)


@dataclass(frozen=True, slots=True)
class DraftTime:
    """Seconds that drafting adds to a step: linear in its rows, its tokens and the longest draft.

    Attributes:
        base_s: paid when anything is drafted.
        sequence_s: per row that drafts.
        token_s: per draft token.
        depth_s: per position, for draft models that run once per position; 0 for look-up drafters.
        share: further share of the target step, paid when anything is drafted (the published tuner charges
            4 % for drafting and 5 % for bookkeeping).
    """

    base_s: float = 0.0
    sequence_s: float = 0.0
    token_s: float = 0.0
    depth_s: float = 0.0
    share: float = 0.0

    def predict(self, step_s: float, sequences: float, draft_tokens: float, depth: float) -> float:
        """Seconds, 0 where nothing is drafted.

        Args:
            step_s: the target step beside which it drafts.
            sequences: rows that draft.
            draft_tokens: tokens drafted in all.
            depth: longest draft.
        """
        if draft_tokens <= 0:
            return 0.0
        own = self.base_s + self.sequence_s * sequences + self.token_s * draft_tokens + self.depth_s * depth
        return own + self.share * step_s
