"""What trim and compact did, as data."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class TrimReport:
    """What `spark-llm cache trim` did.

    Attributes:
        expired_files: deleted, all their rows being past the ttl.
        rewritten_files: replaced by files without the rows past the ttl.
        expired_rows: rows of both, without those of files that cannot be read.
        oversize_files: deleted for the size.
        oversize_rows: their rows.
        orphans: hidden files deleted.
        young_files: not touched.
        files: left.
        size_bytes: left.
        unreadable: paths and reasons; such a file counts as old as it was written.
    """

    expired_files: int = 0
    rewritten_files: int = 0
    expired_rows: int = 0
    oversize_files: int = 0
    oversize_rows: int = 0
    orphans: int = 0
    young_files: int = 0
    files: int = 0
    size_bytes: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class CompactReport:
    """What `spark-llm cache compact` did.

    Attributes:
        merged_files: read, then deleted.
        merged_bytes: their size.
        new_files: written.
        new_bytes: their size.
        duplicate_rows: left out, there being a newer row of the key.
        young_files: not touched.
        unreadable: paths and reasons; such files stay as they are.
    """

    merged_files: int = 0
    merged_bytes: int = 0
    new_files: int = 0
    new_bytes: int = 0
    duplicate_rows: int = 0
    young_files: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
