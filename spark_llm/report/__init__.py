"""What one query did, as a page that opens offline: made when it ends, where spark.llm.report.dir is set.

driver, catalyst/RunReport.scala     llm-APPLICATION-QUERY.json   plan, metrics, errors, time series
    │ python -m spark_llm.report     or by hand: spark-llm report FILE.json
    ▼
Run                  read.py         checked; one Call per call, readings of the engines
    ├─ funnel.py                     rows read → at the call → cache → different → engine → failed
    ├─ icicle (spark_llm.analyze)    how prompts share their beginnings
    ├─ strips.py, series.py          requests, tokens per second, hit rate, KV cache over time
    └─ html.py                       one self-contained page; every picture has its figures as a table
"""
