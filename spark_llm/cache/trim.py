"""What may go: answers past their time, then the oldest files until the rest fits.

files ──► younger than the grace time?  stays, whatever it holds: a query may be reading it
      ──► all rows past the ttl?        deleted
      ──► some rows past the ttl?       the others go into a new file, then it is deleted
      ──► together above the size?      deleted, those whose newest row is oldest first
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import pyarrow as pa

from spark_llm.cache.layout import Cache, CacheFile
from spark_llm.cache.outcome import TrimReport
from spark_llm.cache.part import Part
from spark_llm.cache.rows import CREATED_AT, UNREADABLE, created_us, first_line, read

_NEVER_US: Final = int(np.iinfo(np.int64).min)


def trim(
    cache: Cache, now_s: float, ttl_s: float | None, max_bytes: int | None, grace_s: float
) -> TrimReport:
    """Deletes what is past its time or above the size, and hidden files that were left behind.

    Args:
        cache: the folder.
        now_s: the time, in seconds since 1970.
        ttl_s: rows older than this go; None for none.
        max_bytes: size that the files may have together; None for any.
        grace_s: files younger than this stay. A file that trim itself rewrites is as old as the one it
            replaces.

    Raises:
        SparkLLMError: LLM_FILE_NOT_WRITTEN; what was done until then stays done, and no row is lost.
    """
    listing, report = cache.listing(), TrimReport()
    for orphan in listing.orphans(now_s):
        if orphan.modified_s <= now_s - grace_s:
            cache.delete(orphan.path)
            report.orphans += 1
    young = [file for file in listing.files if file.modified_s > now_s - grace_s]
    report.young_files = len(young)
    cutoff_us = _NEVER_US if ttl_s is None else round((now_s - ttl_s) * 1e6)
    left: list[tuple[int, CacheFile, int]] = []
    for file in listing.files:
        if file.modified_s <= now_s - grace_s:
            left += _without_expired(cache, file, cutoff_us, report)
    report.size_bytes = sum(file.size_bytes for file in [*young, *(file for _, file, _ in left)])
    left.sort(key=lambda entry: (entry[0], entry[1].path))
    report.files = len(young) + len(left)
    for _, file, rows in left:
        if max_bytes is None or report.size_bytes <= max_bytes:
            break
        cache.delete(file.path)
        report.oversize_files += 1
        report.oversize_rows += rows
        report.files -= 1
        report.size_bytes -= file.size_bytes
    return report


def _without_expired(
    cache: Cache, file: CacheFile, cutoff_us: int, report: TrimReport
) -> list[tuple[int, CacheFile, int]]:
    """Returns what is left of a file, none or one: its newest row in microseconds, the file, its rows."""
    try:
        created = created_us(read(cache, file, [CREATED_AT]))
        newest_us, rows = int(created.max(initial=0)), len(created)
        kept_rows = int((created >= cutoff_us).sum())
        if kept_rows and kept_rows < rows:
            new = _rewritten(cache, file, cutoff_us)
            report.rewritten_files += 1
            report.expired_rows += rows - kept_rows
            return [(newest_us, new, kept_rows)]
    except FileNotFoundError:
        return []
    except UNREADABLE as error:
        report.unreadable[file.path] = first_line(error)
        newest_us, rows = round(file.modified_s * 1e6), 0
    if newest_us >= cutoff_us:
        return [(newest_us, file, rows)]
    cache.delete(file.path)
    report.expired_files += 1
    report.expired_rows += rows
    return []


def _rewritten(cache: Cache, file: CacheFile, cutoff_us: int) -> CacheFile:
    """Replaces a file by one without the rows past the ttl."""
    table = read(cache, file)
    kept = table.filter(pa.array(created_us(table) >= cutoff_us))
    with Part(cache, file.call, kept.schema) as part:
        part.add(kept)
        new = part.publish()
    cache.delete(file.path)
    return replace(new, modified_s=file.modified_s)
