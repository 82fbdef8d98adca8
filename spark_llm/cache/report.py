"""What was found and what was done, as data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final

_TOTALS: Final = (
    "files", "size_bytes", "small_files", "entries", "distinct_keys", "prompt_tokens", "answer_tokens",
)  # fmt: skip


@dataclass(slots=True)
class CallStats:
    """One call's answers.

    Attributes:
        call: its fingerprint, 32 hex digits.
        model: which model answered; empty where the files do not say.
        revision: of the model.
        instruction_hash: of the instruction.
        files: how many.
        size_bytes: of them together.
        small_files: of them, what `spark-llm cache compact` would merge.
        entries: rows.
        distinct_keys: questions that have an answer.
        oldest: when the first answer was made, ISO 8601.
        newest: when the last was.
        prompt_tokens: not computed again when each question comes once more.
        answer_tokens: not generated again then.
    """

    call: str
    model: str = ""
    revision: str = ""
    instruction_hash: str = ""
    files: int = 0
    size_bytes: int = 0
    small_files: int = 0
    entries: int = 0
    distinct_keys: int = 0
    oldest: str = ""
    newest: str = ""
    prompt_tokens: int = 0
    answer_tokens: int = 0


@dataclass(slots=True)
class CacheStats:
    """The whole folder.

    Attributes:
        dir: as the user wrote it.
        calls: the calls, the largest first.
        being_written: hidden files of running tasks.
        orphans: hidden files left behind.
        unreadable: paths and reasons.
    """

    dir: str
    calls: list[CallStats] = field(default_factory=list)
    being_written: int = 0
    orphans: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)

    def total(self, what: str) -> int:
        """Returns a figure of all calls together."""
        return sum(getattr(call, what) for call in self.calls)

    def data(self) -> dict[str, Any]:
        """Returns the figures as plain data for JSON."""
        return asdict(self) | {what: self.total(what) for what in _TOTALS}
