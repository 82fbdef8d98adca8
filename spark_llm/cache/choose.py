"""Which files compact reads, and which of their rows stay."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spark_llm.cache.layout import Cache, CacheFile
from spark_llm.cache.rows import (
    CREATED_AT,
    KEY_COLUMNS,
    UNREADABLE,
    columns,
    created_us,
    first_line,
    keys,
    newest,
    read,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Chosen(NamedTuple):
    """A file and which of its rows stay, bool (n_rows,)."""

    file: CacheFile
    kept: NDArray[np.bool_]
    newest_us: int


def groups_to_merge(
    cache: Cache, files: Sequence[CacheFile], small_bytes: int, unreadable: dict[str, str]
) -> list[list[Chosen]]:
    """Returns the files to merge, those with the same columns together, the oldest first.

    Args:
        cache: the folder.
        files: those of one call that may be merged.
        small_bytes: files of this size come along only when they hold a row that a newer one replaces.
        unreadable: gets paths and reasons of files that are left out.
    """
    found: list[tuple[CacheFile, str, NDArray[np.uint64], NDArray[np.int64]]] = []
    for file in files:
        try:
            # a small file is read whole, so that no row gives way to one that turns out unreadable later
            small = file.size_bytes < small_bytes
            table = read(cache, file, None if small else (*KEY_COLUMNS, CREATED_AT))
            found.append((file, columns(cache, file), keys(table), created_us(table)))
        except FileNotFoundError:
            continue
        except UNREADABLE as error:
            unreadable[file.path] = first_line(error)
    if not found:
        return []
    every_key, every_time = (np.concatenate([entry[at] for entry in found]) for at in (2, 3))
    kept = newest(every_key, every_time)
    groups: dict[str, list[Chosen]] = defaultdict(list)
    at = 0
    for file, names, halves, created in found:
        mine = kept[at : at + len(halves)]
        at += len(halves)
        if file.size_bytes < small_bytes or not mine.all():
            groups[names].append(Chosen(file, mine, int(created.max(initial=0))))
    return [
        sorted(group, key=lambda chosen: chosen.newest_us)
        for group in groups.values()
        if len(group) > 1 or not group[0].kept.all()
    ]
