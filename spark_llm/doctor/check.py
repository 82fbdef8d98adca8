"""What one check says."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from spark_llm.errors import SparkLLMError

Status = Literal["ok", "FAIL", "skip"]


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor.

    Attributes:
        status: `skip` means nothing is known, neither good nor bad.
        subject: What was looked at, one word.
        text: What was found.
        fix: What to do about it; empty for `ok`.
    """

    status: Status
    subject: str
    text: str
    fix: str = ""

    def line(self) -> str:
        """The check as one line of plain text."""
        text = " ".join(self.text.split())
        stop = "" if text.endswith((".", "?", "!")) else "."
        fix = f"{stop} Fix: {' '.join(self.fix.split())}" if self.fix else ""
        return f"{self.status:<5} {self.subject:<10} {text}{fix}"


def ok(subject: str, text: str) -> Check:
    """Nothing to do."""
    return Check("ok", subject, text)


def failed(subject: str, text: str, fix: str) -> Check:
    """Something that keeps queries from running, and the way out."""
    return Check("FAIL", subject, text, fix)


def refused(subject: str, error: SparkLLMError) -> Check:
    """One of our own errors, which brings its way out."""
    return failed(subject, f"[{error.condition}] {error.message.rstrip('.')}", error.hint)


def skipped(subject: str, text: str) -> Check:
    """Not looked at, and why."""
    return Check("skip", subject, text)


def first_line(text: str) -> str:
    """The first line that says anything, cut at 300 characters."""
    return next((line.strip()[:300] for line in text.splitlines() if line.strip()), "it said nothing")


def last_line(text: str) -> str:
    """The last line that says anything, cut at 300 characters: the cause, in a traceback."""
    return first_line("\n".join(reversed(text.splitlines())))


def last_object(output: str) -> dict[str, Any] | None:
    """The last line that is a JSON object, which is how the doctor's child processes answer; None without."""
    lines = [line for line in output.splitlines() if line.startswith("{")]
    return dict(json.loads(lines[-1])) if lines else None
