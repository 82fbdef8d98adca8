"""What made an engine fail, read from its exit status and the end of its log."""

from __future__ import annotations

import re
import signal

from spark_llm.errors import SparkLLMError, engine_failed

# argparse's exit status for arguments it does not take.
USAGE_ERROR = 2

# A smaller KV cache helps against the first, but not where the cache is what is too small already.
_TOO_MUCH = re.compile(
    r"OutOfMemoryError|CUDA out of memory|less than desired GPU memory utilization|"
    r"DefaultCPUAllocator: (?:can't|not enough)|Cannot allocate memory|"
    r"is less than requested memory for kv"
)
_NO_MEMORY = re.compile(
    rf"{_TOO_MUCH.pattern}|No available memory for the cache blocks|"
    r"larger than the available KV cache memory"
)
_NO_MODEL = re.compile(
    r"(?:RepositoryNotFoundError|is not a local folder and is not a valid model identifier|"
    r"Repo id must be in the form|not the path to a directory containing)"
)
_CAUSE = re.compile(r"(?:\w+Error|\w+Exception|error): .+")
# What the core raised stands above the front end's own traceback, which only says that the core is gone.
_CORE = re.compile(r"\(EngineCore[^)]*\) ERROR .*?\] ((?:\w+Error|\w+Exception): .+)")
_SHOWN_LINES, _SHOWN_CHARS = 20, 4000


def diagnose(
    outcome: str, status: int | None, start_timeout_s: float, log_tail: str, log: str
) -> SparkLLMError:
    """The error that an engine's end stands for.

    Args:
        outcome: exited; late when it did not answer in time, hung when it answered no more, stalled when it
            answered but did not work.
        status: its exit status, minus the signal's number when a signal ended it.
        start_timeout_s: how long it was given.
        log_tail: its log, or the end of it: enough for the traceback of each of its processes.
        log: path of the log.
    """
    if _NO_MODEL.search(log_tail):
        return SparkLLMError(
            "LLM_MODEL_NOT_FOUND", {"model": _cause(log_tail, _NO_MODEL), "known": f"(see {log})"}
        )
    if _NO_MEMORY.search(log_tail):
        return SparkLLMError("LLM_OUT_OF_DEVICE_MEMORY", {"reason": _cause(log_tail, _NO_MEMORY)})
    ends = {
        "stalled": "it had requests and took no step for longer than spark.llm.engine.stallTimeout",
        "late": f"it did not answer within {start_timeout_s:.0f} s",
        "hung": "it no longer answered",
    }
    end = ends.get(outcome) or f"it {_exit(status)}"
    shown = "\n".join(log_tail.splitlines()[-_SHOWN_LINES:])[-_SHOWN_CHARS:]
    core = _CORE.findall(log_tail)
    if core and core[-1] not in shown:
        shown = f"{core[-1]}\n…\n{shown}"
    lines = f"; the last lines of its log:\n{shown}" if shown else "; its log is empty"
    return engine_failed(f"{end}{lines}", log)


def wants_too_much(log_tail: str) -> bool:
    """Whether an engine that failed to start might fit with a smaller KV cache."""
    return _TOO_MUCH.search(log_tail) is not None


def _exit(status: int | None) -> str:
    if status is None or status >= 0:
        return f"exited with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"


def _cause(log_tail: str, pattern: re.Pattern[str]) -> str:
    """What the last line that the pattern is about says, without the log's own columns."""
    line = next(line for line in reversed(log_tail.splitlines()) if pattern.search(line))
    found = _CAUSE.search(line)
    return found[0] if found else line.strip()
