"""A discrete-event engine: one event per step, seconds from the cost model; no Spark, no vLLM.

Workload (workload.py)        prompts as paths of a prefix trie, own tokens, output lengths, arrivals
    │ waiting queue
    ▼
Simulation (engine.py) ── Scheduler (scheduler.py): admits, chunks prompts, preempts, as vLLM does
    │   │ BlockCache (blocks.py): KV blocks, prefix hits, eviction      Batch (batch.py): rows in arrays
    │   │ Policy (spark_llm.smartspec.policy): k per row    Acceptance (acceptance.py): which drafts are right
    │   ▼ StepTime.predict + DraftTime.predict = seconds of the step
    ▼
Result (result.py)            rows/s, steps, prefill tokens, hit share, histogram of k, trace
"""
