import signal
import threading

import pytest

from spark_llm.interrupt import cancel_on_interrupt


class Spark:
    def __init__(self):
        self.cancelled_on = []
        self.sparkContext = self

    def cancelAllJobs(self):  # noqa: N802  Spark's name
        self.cancelled_on.append(threading.current_thread().name)


@pytest.fixture(autouse=True)
def restored():
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def pysparks(_number, _frame):
    raise AssertionError


pysparks.__module__ = "pyspark.core.context"


def test_it_cancels_on_another_thread_and_interrupts():
    spark = Spark()
    signal.signal(signal.SIGINT, pysparks)
    assert cancel_on_interrupt(spark)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert spark.cancelled_on == ["spark-llm-cancel"]


def test_other_handlers_stay():
    def own(_number, _frame):
        pass

    signal.signal(signal.SIGINT, own)
    assert not cancel_on_interrupt(Spark())
    assert signal.getsignal(signal.SIGINT) is own


def test_off_the_main_thread_nothing_is_set():
    signal.signal(signal.SIGINT, pysparks)
    done = []
    thread = threading.Thread(target=lambda: done.append(cancel_on_interrupt(Spark())))
    thread.start()
    thread.join()
    assert done == [False]
    assert signal.getsignal(signal.SIGINT) is pysparks
