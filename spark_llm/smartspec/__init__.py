"""SmartSpec: speculative decoding whose draft length follows goodput (arXiv 2406.14066); pure.

vllm_plugin.py (adapter)          simulate (spark_llm.costmodel)
     │ Step: rows that decode, drafts at hand, KV tokens, prompt tokens waiting
     ▼
Policy.draft_lengths(step) ──► k per row ──► the engine verifies 1 + k tokens of each row
     ▲                                              │
     │ acceptance per row and position, step time   │
     └── Policy.observe(StepResult) ◄───────────────┘
drafters/: where drafts come from: the row's own text, finished answers of the query, the answer's grammar
priors.py: what a query shape accepted last time, so that the next run starts warm
"""
