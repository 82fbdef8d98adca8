"""Runs in Spark's Python workers: Arrow batches of fields in, Arrow batches of answers out, row for row.

    JVM ── spec JSON ──► load_command ──► (function, result type)
    f0: {"v":"Good"}  f1: {"v":5}  ─► prompts      one user message per row, None where nothing is asked
                                   ─► dedup        equal messages of this task share one Slot
                                   ─► pipeline     new Slots go to the engine; several batches are under way
                                   ─► answer       text -> value of the Spark type, or a condition for the row
                                   ─► result       value, condition, message, requests, usage   (same order)

A row that fails is a row with a condition; an engine that fails raises, and Spark retries the task.
"""

from spark_llm.worker.command import load_command

__all__ = ["load_command"]
