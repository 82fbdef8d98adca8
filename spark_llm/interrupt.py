"""Ctrl-C, and a notebook's stop button, cancel what runs.

PySpark's own handler asks the JVM to cancel on the connection that waits for the query's answer, on the same
thread: py4j refuses that ("reentrant call"), the query goes on, and with it what it spends (seen with 4.3).
"""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

    from pyspark.sql import SparkSession

_LONGEST_WAIT_S = 5.0


def cancel_on_interrupt(spark: SparkSession) -> bool:
    """Makes SIGINT cancel all jobs of the application from a thread of its own, then raise KeyboardInterrupt.

    Only in the place of PySpark's handler: one that somebody else set stays.

    Returns:
        Whether the handler was set. False off the main thread, and where the handler is not PySpark's.
    """
    present = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not _is_pysparks(present):
        return False
    context = spark.sparkContext

    def handler(_number: int, _frame: FrameType | None) -> None:
        cancel = threading.Thread(target=context.cancelAllJobs, name="spark-llm-cancel", daemon=True)
        cancel.start()
        cancel.join(_LONGEST_WAIT_S)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, handler)
    return True


def _is_pysparks(handler: object) -> bool:
    return str(getattr(handler, "__module__", "")).startswith("pyspark.")
