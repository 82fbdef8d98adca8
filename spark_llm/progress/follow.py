"""The thread of a Python driver that draws; it sleeps in the JVM until a query with a call starts.

configure(builder), register(spark)    start it where somebody can see it: a terminal or a notebook
watch(spark)                           starts it anyway, for the time of a `with` block
"""

from __future__ import annotations

import json
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from spark_llm.progress import paint
from spark_llm.progress.screen import Screen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pyspark.sql import SparkSession

    from spark_llm.progress.model import QueryState
    from spark_llm.progress.paint import Painter

KEY: Final = "spark.llm.progress.enabled"
_CLASS: Final = "org.apache.spark.sql.llm.Progress"
_BUSY_MS: Final = 500
_IDLE_MS: Final = 2000
_UNBUILT_S: Final = 0.5
_READER: Final = "_spark_llm_progress"
_lock = threading.Lock()
_running: list[Watcher] = []


@contextmanager
def watch(spark: SparkSession) -> Iterator[None]:
    """Draws the progress of queries with calls while the block runs, wherever that is possible.

    >>> with spark_llm.progress.watch(spark):  # doctest: +SKIP
    ...     spark.sql("SELECT llm('Is it about food?', review) FROM reviews").collect()

    Only `spark.llm.progress.enabled=false` keeps it silent. Over Spark Connect there is nothing to read on
    the client's side, and the block does nothing: the server draws for itself.
    """
    if not hasattr(spark, "_jsparkSession"):
        yield
        return
    with _lock:
        others = list(_running)
    for other in others:
        other.silent = True
    watcher = Watcher(lambda: reader_of(spark), always=True)
    watcher.start()
    try:
        yield
    finally:
        watcher.finish()
        for other in others:
            other.silent = False


def follow_session(mode: str) -> None:
    """Draws for the sessions of this process from now on, where `mode` and the place allow it.

    In a batch job with `auto` no thread is started; once is enough.

    Args:
        mode: auto, true or false.
    """
    if mode == "false" or (mode == "auto" and not seen()):
        return
    with _lock:
        if not any(each.is_alive() for each in _running):
            watcher = Watcher(_reader_of_active, always=False)
            _running[:] = [watcher]
            watcher.start()


def seen() -> bool:
    """Returns whether somebody looks: at this process's terminal or, as a notebook's kernel, at its cells."""
    if "pytest" in sys.modules:
        return False
    return paint.notebook_display() is not None or (sys.stderr is not None and sys.stderr.isatty())


class Watcher(threading.Thread):
    """Reads snapshots and draws them until told to finish.

    Args:
        reader: finds what reads a snapshot, ``(version, wait_ms) -> json``; None while there is no session.
        always: draws with spark.llm.progress.enabled=auto also where nobody is known to look.
    """

    def __init__(self, reader: Callable[[], Callable[[int, int], str] | None], *, always: bool) -> None:
        super().__init__(name="spark-llm-progress", daemon=True)
        self.silent = False
        self._reader, self._always = reader, always
        self._finish = threading.Event()
        self._screen = Screen(self._painter)

    def finish(self) -> None:
        """Draws once more and ends."""
        self._finish.set()
        self.join(5.0)

    def run(self) -> None:
        """The loop."""
        version, running = 0, False
        while True:
            last = self._finish.is_set()
            try:
                read = self._reader()
                if read is None:
                    version = 0
                    if self._finish.wait(_UNBUILT_S):
                        return
                    continue
                snapshot = json.loads(read(version, 0 if last else _BUSY_MS if running else _IDLE_MS))
            except Exception:  # noqa: BLE001  the JVM has ended, or a newer session is being built
                version, running = 0, False
                if last or self._finish.wait(_UNBUILT_S):
                    return
                continue
            if snapshot["version"] < version:
                self._screen.drop()
            version = snapshot["version"]
            if not self.silent:
                running = self._screen.show(snapshot)
            if last:
                return

    def _painter(self, query: QueryState) -> Painter | None:
        mode = query.conf.get(KEY, "auto").strip().lower()
        if mode == "false" or (mode == "auto" and not self._always and not seen()):
            return None
        return painter_of(query)


def painter_of(query: QueryState) -> Painter:
    """Returns the painter for where this process writes."""
    display = paint.notebook_display()
    if display is not None:
        return paint.Notebook(display)
    terminal = sys.stderr.isatty()
    if terminal and not query.console_bar:
        return paint.Terminal(sys.stderr)
    return paint.Lines(sys.stderr, time.monotonic, erase=terminal)


def _reader_of_active() -> Callable[[int, int], str] | None:
    if "pyspark.sql" not in sys.modules:
        return None
    from pyspark.sql import SparkSession

    session: Any = SparkSession._instantiatedSession  # noqa: SLF001  no public way in PySpark
    if session is None or not hasattr(session, "_jsparkSession"):
        return None
    return reader_of(session) if session.sparkContext._jsc is not None else None  # noqa: SLF001


def reader_of(spark: SparkSession) -> Callable[[int, int], str]:
    """Returns what reads a session's snapshots, by Java's reflection: the jar may have been added later."""
    session: Any = spark
    if (known := getattr(session, _READER, None)) is not None:
        return known  # type: ignore[no-any-return]
    gateway = session.sparkContext._gateway  # noqa: SLF001  no public way in PySpark
    loader = session._jsparkSession.sharedState().jarClassLoader()  # noqa: SLF001
    method = next(m for m in loader.loadClass(_CLASS).getMethods() if m.getName() == "poll")

    def read(version: int, wait_ms: int) -> str:
        arguments = gateway.new_array(gateway.jvm.java.lang.Object, 2)
        arguments[0], arguments[1] = version, wait_ms
        return str(method.invoke(None, arguments))

    setattr(session, _READER, read)
    return read
