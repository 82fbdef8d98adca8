"""The durable response cache, seen from outside of Spark: what is in it, what may go, what should be merged.

task of a query                        one answer, its question's key
    │ written while the query runs
    ▼
call=<32 hex>/.part-<uuid>.parquet.tmp hidden: no reader looks at it      layout.py, open.py, part.py
    │ renamed when it is whole, then never changed
    ▼
call=<32 hex>/part-<uuid>.parquet ───► look-up join of the next query, which skips files that are gone
    ├─ stats.py, report.py, text.py     what `spark-llm cache stats` prints        --json: the same as data
    ├─ trim.py, outcome.py              rows past the ttl, then the oldest files past the size
    └─ compact.py, choose.py, rows.py   small files into large ones, the newest row of each key
"""
