"""What a step of the engine costs, fitted and predicted; no Spark, no vLLM.

step records (kv_tokens, tokens, sequences, seconds)       from the engine, or from `spark-llm profile`
    │ fit.py: windowed ridge towards a preset
    ▼
StepTime(kv_s, token_s, sequence_s, base_s)                presets.py: published fits
    │ predict(kv_tokens, tokens, sequences) -> seconds
    ├──────────────► smartspec (draft lengths), pie (what to swap), router (what reasoning costs)
    ▼
simulate/: a discrete-event engine that takes its seconds from StepTime and Link
"""
