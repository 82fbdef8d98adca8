"""What the cache holds, per call."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spark_llm.cache.layout import SMALL_BYTES, Cache, CacheFile
from spark_llm.cache.report import CacheStats, CallStats
from spark_llm.cache.rows import (
    CREATED_AT,
    KEY_COLUMNS,
    UNREADABLE,
    created_us,
    first_line,
    keys,
    newest,
    read,
)

_ABOUT: Final = ("model", "revision", "instruction_hash")
_COUNTS: Final = ("prompt_tokens", "generated_tokens")


def stats(cache: Cache, now_s: float) -> CacheStats:
    """Counts what is in the folder.

    Args:
        cache: the folder.
        now_s: the time, in seconds since 1970.
    """
    listing = cache.listing()
    orphans = len(listing.orphans(now_s))
    found = CacheStats(cache.shown, [], len(listing.hidden) - orphans, orphans)
    by_call: dict[str, list[CacheFile]] = defaultdict(list)
    for file in listing.files:
        by_call[file.call].append(file)
    found.calls = [_call_stats(cache, call, files, found.unreadable) for call, files in by_call.items()]
    found.calls.sort(key=lambda call: (-call.size_bytes, call.call))
    return found


def _call_stats(cache: Cache, call: str, files: Sequence[CacheFile], unreadable: dict[str, str]) -> CallStats:
    found = CallStats(call)
    tables: list[pa.Table] = []
    read_files: list[CacheFile] = []
    for file in files:
        try:
            table = read(cache, file, (*KEY_COLUMNS, CREATED_AT, *_ABOUT, *_COUNTS))
            keys(table)
        except FileNotFoundError:
            continue
        except UNREADABLE as error:
            unreadable[file.path] = first_line(error)
            continue
        for name in _ABOUT:
            if name in table.column_names and not getattr(found, name):
                known = pc.unique(table.column(name).drop_null())
                setattr(found, name, str(known[0]) if len(known) else "")
        tables.append(table.drop_columns([name for name in _ABOUT if name in table.column_names]))
        read_files.append(file)
    found.files = len(read_files)
    found.size_bytes = sum(file.size_bytes for file in read_files)
    small = sum(file.size_bytes < SMALL_BYTES for file in read_files)
    found.small_files = small if small > 1 else 0
    if not tables:
        return found
    created = np.concatenate([created_us(table) for table in tables])
    kept = newest(np.concatenate([keys(table) for table in tables]), created)
    found.entries, found.distinct_keys = len(kept), int(kept.sum())
    if len(created):
        found.oldest, found.newest = _iso(created.min()), _iso(created.max())
    saved = [_sum_kept(tables, name, kept) for name in _COUNTS]
    found.prompt_tokens, found.answer_tokens = saved
    return found


def _iso(created: np.int64) -> str:
    return str(np.datetime_as_string(np.datetime64(int(created), "us"), unit="s")) + "Z"


def _sum_kept(tables: Sequence[pa.Table], name: str, kept: np.ndarray[Any, np.dtype[np.bool_]]) -> int:
    total = at = 0
    for table in tables:
        if name in table.column_names:
            chosen = table.column(name).filter(pa.array(kept[at : at + table.num_rows]))
            total += pc.sum(chosen).as_py() or 0
        at += table.num_rows
    return total
