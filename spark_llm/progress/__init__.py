"""How far the calls of running queries are, as one line that can be trusted.

task ends, heartbeats ─► catalyst/Progress.scala   counts, expected rows, as JSON
                              │ py4j                          │ stdin
                    follow.py thread of a Python driver       __main__.py  spark-sql, jars
                              └───────────┬───────────────────┘
                                      model.py    rates over half a minute, total where known, seconds left
                                      line.py     call 1/2  43 % · 168k/388k prompts · … · ETA 6:10
                                      paint.py    terminal: one line redrawn (rich, where installed)
                                                  notebook: one output updated · else a line every 10 s or 5 %
"""

from spark_llm.progress.follow import watch

__all__ = ["watch"]
