"""Small files into large ones, one row per key; at every moment each key is in a file that readers see.

eligible files of a call ──► keys of all ──► newest row of each key
    │ small ones, and those that hold an older row of a key
    ▼
merged file, hidden ──► renamed: visible beside the old ones ──► only then are the old ones deleted
"""

from __future__ import annotations

from collections import defaultdict, deque
from contextlib import ExitStack

import pyarrow as pa

from spark_llm.cache.choose import Chosen, groups_to_merge
from spark_llm.cache.layout import SMALL_BYTES, TARGET_BYTES, Cache, CacheFile
from spark_llm.cache.outcome import CompactReport
from spark_llm.cache.part import Part
from spark_llm.cache.rows import UNREADABLE, first_line, read


def compact(
    cache: Cache,
    now_s: float,
    grace_s: float,
    small_bytes: int = SMALL_BYTES,
    target_bytes: int = TARGET_BYTES,
) -> CompactReport:
    """Merges the small files of each call.

    Args:
        cache: the folder.
        now_s: the time, in seconds since 1970.
        grace_s: files younger than this stay as they are.
        small_bytes: files of this size are large enough.
        target_bytes: a new file is ended at this size.

    Raises:
        SparkLLMError: LLM_FILE_NOT_WRITTEN; what was done until then stays done, and no row is lost.
    """
    report = CompactReport()
    by_call: dict[str, list[CacheFile]] = defaultdict(list)
    for file in cache.listing().files:
        if file.modified_s > now_s - grace_s:
            report.young_files += 1
        else:
            by_call[file.call].append(file)
    for files in by_call.values():
        for group in groups_to_merge(cache, files, small_bytes, report.unreadable):
            rest = deque(group)
            while rest:
                _merge(cache, rest, target_bytes, report)
    return report


def _merge(cache: Cache, rest: deque[Chosen], target_bytes: int, report: CompactReport) -> None:
    """Takes files from ``rest`` until a new file is large enough, then lets them go."""
    done: list[Chosen] = []
    part: Part | None = None
    with ExitStack() as stack:
        while rest and (part is None or part.size_bytes < target_bytes):
            chosen = rest.popleft()
            try:
                rows = read(cache, chosen.file).filter(pa.array(chosen.kept))
            except FileNotFoundError:
                continue
            except UNREADABLE as error:
                report.unreadable[chosen.file.path] = first_line(error)
                continue
            done.append(chosen)
            if rows.num_rows:
                part = part or stack.enter_context(Part(cache, chosen.file.call, rows.schema))
                part.add(rows)
        if part is not None:
            report.new_bytes += part.publish().size_bytes
            report.new_files += 1
    for chosen in done:
        cache.delete(chosen.file.path)
        report.merged_files += 1
        report.merged_bytes += chosen.file.size_bytes
        report.duplicate_rows += int((~chosen.kept).sum())
