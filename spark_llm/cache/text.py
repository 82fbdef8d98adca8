"""What `spark-llm cache` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from spark_llm.cache.outcome import CompactReport, TrimReport
    from spark_llm.cache.report import CacheStats

_NAME_CHARS: Final = 24
_HASH_CHARS: Final = 8
_LEFT: Final = 3
_UNITS: Final = ("bytes", "KiB", "MiB", "GiB", "TiB")
_HEAD: Final = (
    "call", "model", "instruction", "files", "size", "entries", "distinct", "oldest", "newest",
    "prompt tokens", "answer tokens",
)  # fmt: skip


def stats_text(stats: CacheStats) -> str:
    """Returns the report, ending with a line break."""
    entries, distinct = stats.total("entries"), stats.total("distinct_keys")
    prompt, answer, small = (stats.total(what) for what in ("prompt_tokens", "answer_tokens", "small_files"))
    merge = f"; {_count(small, 'small one')} that compact would merge" if small else ""
    lines = [
        f"{stats.dir}: {_count(len(stats.calls), 'call')}",
        f"files    {stats.total('files'):,}, {size(stats.total('size_bytes'))}{merge}",
        f"entries  {entries:,}, {distinct:,} distinct keys",
        f"saves    {prompt:,} prompt tokens and {answer:,} answer tokens when each question comes once more",
    ]
    if stats.being_written or stats.orphans:
        left = f", {stats.orphans} left behind, which trim deletes" if stats.orphans else ""
        lines.append(f"hidden   {stats.being_written} being written{left}")
    rows = [
        (
            call.call[:_HASH_CHARS], _cut(call.model), call.instruction_hash[:_HASH_CHARS],
            f"{call.files:,}", size(call.size_bytes), f"{call.entries:,}", f"{call.distinct_keys:,}",
            call.oldest[:10], call.newest[:10], f"{call.prompt_tokens:,}", f"{call.answer_tokens:,}",
        )
        for call in stats.calls
    ]  # fmt: skip
    table = f"\n\n{_table(_HEAD, rows)}" if rows else ""
    return "\n".join([*lines, *_unreadable(stats.unreadable)]) + table + "\n"


def trim_text(report: TrimReport, *, limit_bytes: int | None) -> str:
    """Returns what was done, ending with a line break."""
    lines = []
    if report.expired_files:
        lines.append(f"deleted    {_count(report.expired_files, 'file')} past the ttl")
    if report.rewritten_files:
        lines.append(f"rewritten  {_count(report.rewritten_files, 'file')} without the rows past the ttl")
    if report.expired_rows:
        lines.append(f"expired    {_count(report.expired_rows, 'row')} of these")
    if report.oversize_files:
        rows = _count(report.oversize_rows, "row")
        lines.append(f"deleted    {_count(report.oversize_files, 'file')} above the size, {rows}")
    if report.orphans:
        lines.append(f"deleted    {_count(report.orphans, 'hidden file')} left behind for more than a day")
    lines = lines or ["nothing to trim"]
    lines.append(f"left       {_count(report.files, 'file')}, {size(report.size_bytes)}")
    if limit_bytes is not None and report.size_bytes > limit_bytes:
        lines[-1] += f": more than {size(limit_bytes)}, the rest is younger than the grace time"
    return "\n".join([*lines, *_young(report.young_files), *_unreadable(report.unreadable)]) + "\n"


def compact_text(report: CompactReport) -> str:
    """Returns what was done, ending with a line break."""
    lines = ["nothing to merge"]
    if report.merged_files:
        before = f"{_count(report.merged_files, 'file')}, {size(report.merged_bytes)}"
        lines = [f"merged     {before} into {_count(report.new_files, 'file')}, {size(report.new_bytes)}"]
    if report.duplicate_rows:
        rows = _count(report.duplicate_rows, "row")
        lines.append(f"left out   {rows} of keys that have a newer one")
    return "\n".join([*lines, *_young(report.young_files), *_unreadable(report.unreadable)]) + "\n"


def size(count: int) -> str:
    """Returns ``3.4 MiB``; units as in ``--max-size``."""
    step = min((max(count, 1).bit_length() - 1) // 10, len(_UNITS) - 1)
    return f"{count / (1 << 10 * step):.1f} {_UNITS[step]}" if step else f"{count} bytes"


def _young(files: int) -> list[str]:
    return [f"untouched  {_count(files, 'file')} younger than the grace time"] if files else []


def _unreadable(files: dict[str, str]) -> list[str]:
    return [f"Warning: {path} cannot be read: {reason}" for path, reason in sorted(files.items())]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _cut(name: str) -> str:
    return name if len(name) <= _NAME_CHARS else "…" + name[1 - _NAME_CHARS :]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns columns two blanks apart: words to the left, figures to the right."""
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
    return "\n".join(
        "  ".join(
            text.ljust(width) if at < _LEFT else text.rjust(width)
            for at, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (head, *rows)
    )
