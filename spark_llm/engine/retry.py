"""When to send a request again: which statuses, how long to wait."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 30.0
_LONGEST_ASKED_S = 120.0
_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})


def worth_again(status: int) -> bool:
    """Whether an HTTP status may pass by itself."""
    return status in _AGAIN


def wait_s(attempt: int, retry_after: str | None, jitter: float | None = None) -> float:
    """Seconds to wait after failed attempt number `attempt` (1 is the first).

    Args:
        attempt: the number of the attempt that failed.
        retry_after: the header as it came: seconds or an HTTP date; obeyed up to two minutes.
        jitter: 0 to 1, how much of the half that is left to chance is waited; None draws it.
    """
    asked = asked_s(retry_after)
    if asked is not None:
        return asked
    full = min(_FIRST_WAIT_S * float(2 ** min(attempt - 1, 30)), _LONGEST_WAIT_S)
    return full / 2 + full / 2 * (random.random() if jitter is None else jitter)


def asked_s(retry_after: str | None) -> float | None:
    """Seconds that a Retry-After header asks for, two minutes at most; None when it asks for nothing."""
    if retry_after is None:
        return None
    try:
        return min(max(0.0, float(retry_after)), _LONGEST_ASKED_S)
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return min(max(0.0, (moment.astimezone(UTC) - datetime.now(UTC)).total_seconds()), _LONGEST_ASKED_S)
