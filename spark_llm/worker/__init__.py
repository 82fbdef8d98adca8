"""Runs in Spark's Python workers: Arrow batches of fields in, Arrow batches of answers out, row for row.

    JVM ── spec JSON ──► load_command ──► (function, result type)
    f0: {"v":"Good"}  f1: {"v":5}  ─► questions    equal rows of this task share one Slot; NULLs ask nothing
                                   ─► planning     a window of new questions: order of rows, and of each row's
                                                   fields (planner/, continuity, in_flight), prefix groups
                                   ─► flow         prompts of a slice of the plan go to the engine, several
                                                   slices under way, with a priority per prefix group
                                   ─► answer       text -> value of the Spark type, or a condition for the row
                                   ─► result       value, condition, message, requests, usage   (input order)

A row that fails is a row with a condition; an engine that fails raises, and Spark retries the task.
"""

from spark_llm.worker.command import load_command

__all__ = ["load_command"]
