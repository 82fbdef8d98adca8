"""Drivers beside each other, a driver that is killed, a disk that is full: what becomes of the folder of answers."""

import os
import resource
import signal
import time
from contextlib import contextmanager

import pyarrow.parquet as pq
import pytest
from slow_engine import slow_engine
from test_cache_table import files, run
from test_killed import APP, start

pytestmark = pytest.mark.spark

ASK = (
    APP
    + """
print(spark._jvm.java.lang.ProcessHandle.current().pid(), flush=True)
print(sorted(map(tuple, spark.sql(SQL).collect())), flush=True)
"""
)
FAKE = {"spark.llm.engine.kind": "fake"}


@pytest.fixture
def cache(conf, tmp_path):
    conf("spark.llm.cache.enabled", "true")
    conf("spark.llm.cache.dir", str(tmp_path / "cache"))
    return tmp_path / "cache"


@contextmanager
def driver(sql, cache, settings):
    """A driver of its own that prints its JVM's process id and then what it found."""
    settings = {
        "spark.llm.cache.enabled": "true",
        "spark.llm.cache.dir": str(cache),
        "spark.driver.memory": "600m",
        **settings,
    }
    app = start(ASK.replace("SQL", repr(sql)), "local[2]", settings)
    try:
        yield app
    finally:
        app.kill()
        app.wait()


def stored(cache):
    return [
        row
        for path in files(cache)
        for row in pq.read_table(path, columns=["key_high", "key_low"]).to_pylist()
    ]


@pytest.mark.slow
def test_two_drivers_share_a_folder(spark, conf, cache):
    sql = "SELECT id, llm('p', concat('row ', id)) a FROM range(0, 1500, 1, 4)"
    conf("spark.llm.cache.enabled", "false")
    expected, _ = run(spark, sql)
    conf("spark.llm.cache.enabled", "true")
    with driver(sql, cache, FAKE) as one, driver(sql, cache, FAKE) as other:
        for app in (one, other):
            output, _ = app.communicate(timeout=300)
            assert output.splitlines()[-1] == str(expected)
    assert len(stored(cache)) >= 1500
    assert run(spark, sql) == (expected, 0)


@pytest.mark.slow
def test_what_a_killed_driver_has_kept_is_not_asked_again(spark, conf, cache):
    sql = "SELECT id, llm('p', concat('row ', id)) a FROM range(0, 400, 1, 2)"
    with slow_engine(0.1) as entries:
        with driver(sql, cache, entries) as app:
            jvm = int(app.stdout.readline())
            deadline = time.monotonic() + 120
            while not stored(cache) and time.monotonic() < deadline:
                time.sleep(0.05)
            os.kill(jvm, signal.SIGKILL)
        kept = len(stored(cache))
        assert 0 < kept < 400
        for key, value in entries.items():
            conf(key, value)
        found, requests = run(spark, sql)
        assert requests == 400 - kept
    assert [row[0] for row in found] == list(range(400))
    assert len({row[1] for row in found}) == 400


@contextmanager
def full_disk(pid, most_bytes):
    """Lets a process write no file beyond this size; the write that would is refused by the system."""
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE, (most_bytes, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


@contextmanager
def warnings_of(spark, name):
    """Yields what is logged under this name."""
    log4j = spark._jvm.org.apache.logging.log4j
    written = spark._jvm.java.io.StringWriter()
    appender = log4j.core.appender.WriterAppender.createAppender(None, None, written, "kept", False, True)
    appender.start()
    config = log4j.core.config.Configurator
    before = log4j.LogManager.getLogger(name).getLevel()
    config.setLevel(name, log4j.Level.WARN)
    logger = log4j.LogManager.getContext(False).getConfiguration().getLoggerConfig(name)
    logger.addAppender(appender, None, None)
    try:
        yield written.toString
    finally:
        logger.removeAppender("kept")
        config.setLevel(name, before)


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs prlimit, so Linux")
def test_a_full_disk_ends_the_keeping_and_not_the_query(spark, conf, cache):
    """Files end at 1 KiB: no file of answers can be finished -> all rows, one warning of the task, nothing left."""
    sql = "SELECT id, llm('p', concat('row ', id), cache => false) a FROM range(0, 500, 1, 1)"
    # No exchange, whose files could not be written either.
    conf("spark.llm.dedup.enabled", "false")
    conf("spark.llm.reorderRows.enabled", "false")
    expected, _ = run(spark, sql)
    jvm = spark._jvm.java.lang.ProcessHandle.current().pid()
    with full_disk(jvm, 1024), warnings_of(spark, "org.apache.spark.sql.llm.CacheWriter") as told:
        assert run(spark, sql.replace(", cache => false", "")) == (expected, 500)
    assert told().count("answers are no longer kept in") == 1
    assert stored(cache) == []
    assert run(spark, sql.replace(", cache => false", "")) == (expected, 500)
    assert run(spark, sql.replace(", cache => false", "")) == (expected, 0)
