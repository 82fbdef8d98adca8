"""The engine's supervisor as a program: `python -m spark_llm.engine.server`, one per executor JVM.

    stdin, first line   {"dir": FOLDER, "conf": {"spark.llm.model": …}}; then open as long as the JVM lives
    stdout              a JSON line per state (see `EngineState`); the last one is kept in FOLDER/state.json;
                        between them the engine's figures, see `metrics_poll`
    exit status         0 when stdin ended or a signal said stop; 1 when the engine failed for good

Whatever ends the JVM ends its side of stdin, and with it the engine and all its processes.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from spark_llm.conf import parse_conf, resolve_model
from spark_llm.engine import place as places
from spark_llm.engine.machine import this_machine
from spark_llm.engine.memory_args import MEMORY_FILE
from spark_llm.engine.metrics_poll import start_polling
from spark_llm.engine.model_path import model_argument
from spark_llm.engine.plugin_path import python_path
from spark_llm.engine.process import EngineProcess, tail
from spark_llm.engine.state import EngineState, publish
from spark_llm.engine.supervisor import Supervisor
from spark_llm.engine.uds import LONGEST_PATH_BYTES, get_json, get_status
from spark_llm.engine.vllm_args import SERVER_MODULE, launch_of
from spark_llm.engine.wire import PROGRESS_PATH
from spark_llm.errors import SparkLLMError, engine_failed
from spark_llm.planner.warm import start_compiling

if TYPE_CHECKING:
    from types import FrameType

    from spark_llm.conf import Conf
    from spark_llm.engine.place import Place
    from spark_llm.engine.state import Phase


_PROBED = ("/health", "/v1/models")
# vLLM names them by a UUID.
_RPC_NAME_BYTES = 1 + 36


class StopClock:
    """Real time, whose sleep ends early when `stop` is set."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop

    def now(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()

    def sleep(self, seconds: float) -> bool:
        """Sleeps; True as soon as the supervisor shall stop."""
        return self._stop.wait(seconds)


def serve(folder: Path, settings: dict[str, str], stop: threading.Event) -> int:
    """Runs the engine until `stop`; every outcome, failures before the first start included, is published."""
    place = places.Place.of(folder, settings.get("spark.llm.engine.logDir"))
    served = settings.get("spark.llm.model", "")

    def tell(state: Phase, pid: int | None, error: SparkLLMError | None, starts: int) -> None:
        if state == "ready":
            place.socket.chmod(0o600)
        condition, message, params = (
            (error.condition, error.message, error.params) if error else (None, None, {})
        )
        entry = EngineState(
            state, str(place.socket), str(place.log), served, pid, condition, message, params, starts
        )
        publish(entry, place.state, sys.stdout)

    try:
        lock = places.take(place)
    except SparkLLMError as error:
        # The folder is someone else's: its state.json is not touched.
        _print_failure(place, served, error)
        return 1
    except OSError as error:
        _print_failure(place, served, engine_failed(f"its folder {folder} cannot be used: {error}"))
        return 1
    with lock:
        try:
            conf = parse_conf(settings)
            starter = _Starter(conf, place)
        except SparkLLMError as error:
            tell("failed", None, error, 0)
            return 1
        except OSError as error:
            tell("failed", None, engine_failed(f"its folder cannot be used: {error}", str(place.log)), 0)
            return 1
        stall_timeout_s = conf.number("spark.llm.engine.stallTimeout")

        def stalled() -> bool:
            told = get_json(str(place.socket), PROGRESS_PATH)
            return isinstance(told, dict) and told.get("stalled_s", 0.0) > stall_timeout_s

        supervisor = Supervisor(
            spawn=starter.spawn,
            answers=lambda: all(get_status(str(place.socket), url) == 200 for url in _PROBED),
            publish=tell,
            log_tail=starter.log_tail,
            log=str(place.log),
            start_timeout_s=conf.number("spark.llm.engine.startTimeout"),
            clock=StopClock(stop),
            stalled=stalled,
            use_less=starter.use_less,
        )
        start_polling(place.socket, sys.stdout, stop)
        compiling = start_compiling(dict(os.environ))
        try:
            return supervisor.run()
        finally:
            if compiling is not None:
                compiling.kill()
                compiling.wait()


class _Starter:
    """Starts the engine of a conf, with less memory once it had to.

    Raises:
        SparkLLMError: whatever can be known to be wrong before anything is started.
    """

    def __init__(self, conf: Conf, place: Place) -> None:
        self._conf, self._place = conf, place
        self._memory_share = 1.0
        self._log_from_bytes = 0
        self._command, self._environment = _command(conf, place, self._memory_share)

    def spawn(self) -> EngineProcess:
        # An engine that was killed leaves its socket's file, which the next one could not bind.
        self._place.socket.unlink(missing_ok=True)
        # And what it said of its memory, which may not be the next one's.
        self._place.socket.with_name(MEMORY_FILE).unlink(missing_ok=True)
        log = self._place.log
        self._log_from_bytes = log.stat().st_size if log.exists() else 0
        return EngineProcess(self._command, self._environment, log, self._place.folder)

    def log_tail(self) -> str:
        """What the engine that was started last has said, or the end of it."""
        return tail(self._place.log, 500, 50_000, self._log_from_bytes)

    def use_less(self) -> bool:
        """Halves the memory of the KV cache, once."""
        if self._memory_share < 1:
            return False
        self._memory_share = 0.5
        self._command, self._environment = _command(self._conf, self._place, self._memory_share)
        return True


def _command(conf: Conf, place: Place, memory_share: float) -> tuple[list[str], dict[str, str]]:
    """Command line and environment of the engine.

    Raises:
        SparkLLMError: whatever can be known to be wrong before anything is started.
    """
    model = resolve_model(conf)
    path = model_argument(model.path)
    environ = dict(os.environ)
    launch = launch_of(
        conf, path, model.name, str(place.socket), this_machine(), environ, memory_share=memory_share
    )
    environ |= launch.environment
    environ["PYTHONPATH"] = python_path(place.folder, environ)
    if len(os.fsencode(place.folder)) + _RPC_NAME_BYTES <= LONGEST_PATH_BYTES:
        # The sockets between vLLM's own processes, too, lie where nobody else gets.
        environ.setdefault("VLLM_RPC_BASE_PATH", str(place.folder))
    return [sys.executable, "-m", SERVER_MODULE, *launch.arguments], environ


def _print_failure(place: Place, model: str, error: SparkLLMError) -> None:
    entry = EngineState(
        "failed", str(place.socket), str(place.log), model, None, error.condition, error.message, error.params
    )
    print(entry.line(), flush=True)  # noqa: T201  stdout is the protocol


def _stop_at_end_of_stdin(stop: threading.Event) -> None:
    while os.read(0, 4096):
        pass
    stop.set()


def main() -> int:
    """Reads the first line of stdin and serves."""
    stop = threading.Event()

    def ask_to_stop(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, ask_to_stop)
    try:
        order = json.loads(sys.stdin.buffer.readline())
        folder, settings = Path(order["dir"]), dict(order["conf"])
    except (ValueError, TypeError, KeyError) as error:
        reason = f'the first line on stdin is not {{"dir": FOLDER, "conf": {{…}}}} ({error!r})'
        _print_failure(places.Place.of(Path(), None), "", engine_failed(reason))
        return 1
    threading.Thread(target=_stop_at_end_of_stdin, args=(stop,), daemon=True).start()
    return serve(folder, settings, stop)


if __name__ == "__main__":
    sys.exit(main())
