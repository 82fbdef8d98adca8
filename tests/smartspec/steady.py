"""Rows that decode for ever, with drafts that are right by chance: what a policy lives through, in a loop."""

import numpy as np

from spark_llm.costmodel.presets import H100_8B, NGRAM
from spark_llm.smartspec.policy import Step, StepResult

KMAX = 7


def run(
    policy, batch, alpha, steps, *, time=H100_8B, draft=NGRAM, context=1024, seed=0, slower=1.0, drafts=KMAX
):
    """Draft lengths of each step; `alpha` is a number or a function of the step; drafting takes `slower` times."""
    rng = np.random.default_rng(seed)
    slots, none = np.arange(batch), np.zeros(batch, np.int64)
    most = np.full(batch, drafts)
    lengths = []
    for at in range(steps):
        now = alpha(at) if callable(alpha) else alpha
        k = policy.draft_lengths(Step(slots, most, none, batch * context, 0, 0, 2048))
        accepted = np.minimum(rng.geometric(1 - now, batch) - 1, k)
        tokens = batch + int(k.sum())
        step_s = time.predict(batch * context, tokens, batch)
        draft_s = slower * draft.predict(step_s, int(np.count_nonzero(k)), tokens - batch, int(k.max()))
        policy.observe(
            StepResult(slots, k, accepted, none, batch * context, tokens, 0, batch, step_s, draft_s)
        )
        lengths.append(k)
    return np.array(lengths)
