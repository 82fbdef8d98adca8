"""Spark's session time zone as Python knows it."""

from __future__ import annotations

import re
from datetime import UTC, timedelta, timezone, tzinfo
from typing import Final

from spark_llm.errors import invalid_conf

_OFFSET: Final = re.compile(r"(?:GMT|UTC|UT)?([+-])(\d{1,2})(?::?(\d{2}))?(?::?(\d{2}))?", re.ASCII)


def zone_of(name: str) -> tzinfo:
    """Returns the zone of ``spark.sql.session.timeZone``: a region, ``+01:00``, ``GMT+1``, ``Z``.

    Raises:
        SparkLLMError: LLM_INVALID_CONF for a name that this machine's time zone data does not have.
    """
    if name in {"UTC", "Z", "GMT", "UT", "Etc/UTC"}:
        return UTC
    if (match := _OFFSET.fullmatch(name)) is not None:
        sign = -1 if match[1] == "-" else 1
        hours, minutes, seconds = (int(part or 0) for part in match.groups()[1:])
        return timezone(sign * timedelta(hours=hours, minutes=minutes, seconds=seconds))
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        allowed = "a region such as Europe/Paris, or an offset such as +01:00"
        raise invalid_conf("spark.sql.session.timeZone", name, allowed) from None
