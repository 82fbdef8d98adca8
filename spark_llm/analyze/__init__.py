"""How much of a table's prompts a prefix cache can reuse, found without a model or a GPU.

TABLE.parquet / .csv            read.py       chunks of rows, chosen fields
    │ cells                     cells.py      ids of distinct cells; every distinct cell cut into tokens once
    │ orders                    orders.py     as written · one fixed field order · planned
    │ block keys                blocks.py     one key per full block of 16 tokens, from the prompt's start on
    ▼ cache                     cache.py      LRU prefix cache as in paged engines: tokens found, per request
Analysis                        analysis.py   with fields.py, duplicates.py, tree.py (the prefix tree)
    │
    ├─ text.py                  what `spark-llm analyze` prints            --json: the same as data
    └─ html.py, icicle.py       one self-contained page                    --plan, --table: plan.py
"""
