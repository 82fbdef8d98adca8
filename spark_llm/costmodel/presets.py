"""Published fits, where nothing was measured yet: priors of the online fit and engines of the simulator."""

from __future__ import annotations

from spark_llm.costmodel.step_time import DraftTime, StepTime

# Fits in the published SmartSpec code (milliseconds there): test R² .9635 for the 8B.
H100_8B = StepTime(kv_s=4.859e-8, token_s=1.84384e-5, sequence_s=-4.3314e-5, base_s=6.9387e-3)
H100X4_70B = StepTime(kv_s=6.2437e-8, token_s=6.40216e-5, sequence_s=-3.97382e-5, base_s=1.834535e-2)

# The published tuner's charge for n-gram drafting: 4 % of the target step, and 5 % for bookkeeping.
NGRAM = DraftTime(share=0.09)
EAGLE = DraftTime(base_s=4.471e-4, sequence_s=5.528e-6, token_s=4.387e-8, depth_s=4.5218e-4)

PRESETS = {"h100-8b": H100_8B, "h100x4-70b": H100X4_70B}
