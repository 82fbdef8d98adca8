"""`spark-llm doctor`: one line a check, with the way out in the same line.

--conf k=v, spark-defaults.conf ──spark_defaults.py──▶ settings ─┐
                                                          ▼
Host (this machine, or a test's stand-in) ─────▶ checks: packages.py · jvm.py · engine.py
                                                          │  Check(status, subject, text, fix)
                                                          ▼
ok    java       17.0.15 of PATH, /usr/lib/jvm/java-17-openjdk-amd64          report.py
FAIL  model      spark.llm.model is not set. Fix: …
skip  engine     not started. `spark-llm doctor --engine` does, in about a minute
                                                          ▼
exit status: 1 when any line says FAIL, else 0
"""
