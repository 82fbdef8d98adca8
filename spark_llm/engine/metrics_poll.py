"""The engine's own figures, read every two seconds and told to the JVM.

    vLLM  GET /metrics  (Prometheus text) ─► parse ─► {"at_s": …, "metrics": {"prompt_tokens": …},
          memory.json  (memory_args) ───────────────►  "memory": {"allocator": …}}
                                                        └stdout ─► catalyst/EngineProcess.scala

Names are vLLM's without `vllm:` and `_total`; see docs/metrics.md.
"""

from __future__ import annotations

import json
import re
import threading
import time
from typing import IO, TYPE_CHECKING, Any, Final

from spark_llm.engine import vitals
from spark_llm.engine.memory_args import MEMORY_FILE
from spark_llm.engine.uds import get_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

POLL_EVERY_S: Final = 2.0
PATH: Final = "/metrics"
GAUGES: Final = ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc")
COUNTERS: Final = (
    "prompt_tokens",
    "generation_tokens",
    "prefix_cache_queries",
    "prefix_cache_hits",
    "num_preemptions",
    "spec_decode_num_drafts",
    "spec_decode_num_draft_tokens",
    "spec_decode_num_accepted_tokens",
    "external_prefix_cache_hits",
    "kv_offload_load_bytes",
    "kv_offload_store_bytes",
    "kv_offload_bad_blocks",
    "kv_offload_unkept_blocks",
    "kv_offload_evictions",
)
_WANTED: Final = (
    {f"vllm:{name}": name for name in GAUGES}
    | {f"vllm:{name}_total": name for name in COUNTERS}
    | {f"{vitals.PREFIX}{name}": name for name in vitals.GAUGES}
)
_LINE: Final = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{.*\})?\s+(\S+)(?:\s+\S+)?")


def parse(text: str) -> dict[str, float]:
    """Returns the figures of a page, by `GAUGES` and `COUNTERS`; those it does not have are left out.

    An engine in several parts has a line for each: counts are summed up, the share of the KV cache is their
    mean. `vitals.GAUGES` are among the figures where the engine has them.
    """
    found: dict[str, list[float]] = {}
    for line in text.splitlines():
        match = _LINE.fullmatch(line.strip())
        name = _WANTED.get(match[1]) if match else None
        if match is None or name is None:
            continue
        try:
            value = float(match[2])
        except ValueError:
            continue
        # NaN and infinities are no JSON.
        if value - value == 0:
            found.setdefault(name, []).append(value)
    return {
        name: sum(values) / (len(values) if name == "kv_cache_usage_perc" else 1)
        for name, values in found.items()
    }


class MetricsPoll(threading.Thread):
    """Tells the figures until `stop` is set; says nothing while the engine does not answer.

    Args:
        read: returns the page, None when nothing answers.
        stream: gets a line of JSON per reading; may have lost its reader.
        stop: ends the thread.
        every_s: between two readings.
        now: seconds since the epoch.
        memory: returns how the engine lays out its memory, None where it did not say.
    """

    def __init__(
        self,
        read: Callable[[], str | None],
        stream: IO[str],
        stop: threading.Event,
        every_s: float = POLL_EVERY_S,
        now: Callable[[], float] = time.time,
        memory: Callable[[], Any] = lambda: None,
    ) -> None:
        super().__init__(name="spark-llm-metrics", daemon=True)
        self._read, self._stream, self._stop_event = read, stream, stop
        self._every_s, self._now, self._memory = every_s, now, memory

    def run(self) -> None:
        """The loop."""
        while not self._stop_event.wait(self._every_s):
            self.tell()

    def tell(self) -> None:
        """Reads and tells once."""
        page = self._read()
        figures = parse(page) if page else {}
        if figures:
            told = {"at_s": round(self._now(), 3), "metrics": figures}
            if (memory := self._memory()) is not None:
                told["memory"] = memory
            try:
                self._stream.write(json.dumps(told) + "\n")
                self._stream.flush()
            except (OSError, ValueError):
                self._stop_event.wait(self._every_s)  # the JVM is gone; the supervisor ends for that reason


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def start_polling(socket: Path, stream: IO[str], stop: threading.Event) -> MetricsPoll:
    """Starts reading the engine behind a Unix socket."""
    memory = socket.with_name(MEMORY_FILE)
    poll = MetricsPoll(lambda: get_text(str(socket), PATH), stream, stop, memory=lambda: _json(memory))
    poll.start()
    return poll
