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
    r"Not enough memory|exceeds available memory|MemoryError"
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


def diagnose(
    outcome: str, status: int | None, start_timeout_s: float, log_tail: str, log: str
) -> SparkLLMError:
    """The error that an engine's end stands for.

    Args:
        outcome: exited; late when it did not answer in time, hung when it answered no more, stalled when it
            answered but did not work.
        status: its exit status, minus the signal's number when a signal ended it.
        start_timeout_s: how long it was given.
        log_tail: the last lines of its log.
        log: path of the log.
    """
    if _NO_MODEL.search(log_tail):
        return SparkLLMError("LLM_MODEL_NOT_FOUND", {"model": _cause(log_tail), "known": f"(see {log})"})
    if _NO_MEMORY.search(log_tail):
        return SparkLLMError("LLM_OUT_OF_DEVICE_MEMORY", {"reason": _cause(log_tail)})
    ends = {
        "stalled": "it had requests and took no step for longer than spark.llm.engine.stallTimeout",
        "late": f"it did not answer within {start_timeout_s:.0f} s",
        "hung": "it no longer answered",
    }
    end = ends.get(outcome) or f"it {_exit(status)}"
    lines = f"; the last lines of its log:\n{log_tail}" if log_tail else "; its log is empty"
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


def _cause(log_tail: str) -> str:
    """The last line that names an exception, else the last line."""
    found = _CAUSE.findall(log_tail)
    return str(found[-1] if found else log_tail.splitlines()[-1])
