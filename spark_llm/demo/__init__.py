"""The demo: a shop, questions about it, and the small model that answers them.

::

    names, catalog, reviews, tickets, orders        rows of a shop, by seed
        │                            │
        ▼                            ▼
    ask_* → generate           shop → tables ──── Parquet ──▶ SQL demo (app, examples, run)
        │   questions,                └─ *_truth: right answers       ▲
        │   answers, thinking                                         │ vLLM serves it
        ├──▶ tokenizer ──┐                                            │
        └──▶ batches ────┴─▶ train (forward, model_shape) ──▶ model/ ─┤
    generate.held_out ───────────────────────────────────────────▶ evaluate
"""
