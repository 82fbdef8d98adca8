"""Where progress is drawn.

    terminal   one line, redrawn in place; with rich: a bar, and cut to the width
    notebook   one output, updated in place
    else       a line every 10 s, or when 5 % more are done; also where Spark draws its own bar

All of it goes to standard error: what a program prints stays what it was.
"""

from __future__ import annotations

import shutil
import sys
from typing import IO, TYPE_CHECKING, Any, Final, Protocol

from spark_llm.progress import line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from spark_llm.progress.model import CallState, QueryState

LINE_EVERY_S: Final = 10.0
LINE_EVERY_SHARE: Final = 0.05
_ERASE: Final = "\r\x1b[K"
_BAR_CHARS: Final = 20


class Painter(Protocol):
    """Shows one query."""

    def draw(self, query: QueryState) -> None:
        """Shows how far it is."""
        ...

    def end(self, query: QueryState, note: str = "") -> None:
        """Shows how it ended; the painter is used no more."""
        ...


class Lines:
    """Plain lines.

    Args:
        stream: where they go.
        now: monotonic seconds.
        erase: removes first what stands in the line, such as Spark's own bar.
    """

    def __init__(self, stream: IO[str], now: Callable[[], float], erase: bool = False) -> None:
        self._stream, self._now, self._start = stream, now, _ERASE if erase else ""
        self._next_s = now() + LINE_EVERY_S
        self._shares: dict[int, float] = {}

    def draw(self, query: QueryState) -> None:
        """Prints a line for each call under way when it is time, or enough more is done."""
        due = self._now() >= self._next_s
        calls = [call for call in under_way(query) if due or self._moved(call)]
        if not calls:
            return
        self._next_s = self._now() + LINE_EVERY_S
        for call in calls:
            if call.share is not None:
                self._shares[call.number] = call.share
            _write(self._stream, f"{self._start}{line.line(call, query)}\n")

    def end(self, query: QueryState, note: str = "") -> None:
        """Prints the last line of each call."""
        for call in query.calls:
            _write(self._stream, f"{self._start}{line.line(call, query)}\n")
        if note:
            _write(self._stream, f"{self._start}{note}\n")

    def _moved(self, call: CallState) -> bool:
        return call.share is not None and call.share - self._shares.get(call.number, 0.0) >= LINE_EVERY_SHARE


class Terminal:
    """One line of a terminal, drawn again and again.

    Only ever erases the line the cursor is in: what others print between two drawings is not lost.
    """

    def __init__(self, stream: IO[str], columns: Callable[[], int] | None = None) -> None:
        self._stream = stream
        self._columns = columns or (lambda: shutil.get_terminal_size().columns)
        self._rich = _rich()

    def draw(self, query: QueryState) -> None:
        """Draws the line of the call under way."""
        _write(self._stream, _ERASE + self._text(line.shown_call(query), query))

    def end(self, query: QueryState, note: str = "") -> None:
        """Leaves a line of each call."""
        lines = [self._text(call, query) + "\n" for call in query.calls]
        _write(self._stream, _ERASE + "".join(lines) + (f"{note}\n" if note else ""))

    def _text(self, call: CallState, query: QueryState) -> str:
        width = max(20, self._columns() - 1)
        if self._rich is None:
            return line.line(call, query)[:width]
        return _styled(self._rich, call, query, width)


class Notebook:
    """One output of a notebook's cell.

    Args:
        display: `IPython.display.display`.
    """

    def __init__(self, display: Callable[..., Any]) -> None:
        self._display = display
        self._handle: Any = None

    def draw(self, query: QueryState) -> None:
        """Shows a line for each call under way."""
        self._show([line.line(call, query) for call in under_way(query)])

    def end(self, query: QueryState, note: str = "") -> None:
        """Shows the last line of each call."""
        self._show([line.line(call, query) for call in query.calls] + ([note] if note else []))

    def _show(self, lines: Sequence[str]) -> None:
        data = {"text/plain": "\n".join(lines)}
        if self._handle is None:
            self._handle = self._display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)


def under_way(query: QueryState) -> list[CallState]:
    """Returns the calls that have begun and are not done; the first one before any has."""
    begun = [
        call
        for call in query.calls
        if call.answered_rows and (call.share is None or call.share < 1 or len(query.calls) == 1)
    ]
    return begun or [line.shown_call(query)]


def notebook_display() -> Callable[..., Any] | None:
    """Returns IPython's `display` inside a notebook's kernel, else None."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None or getattr(shell, "kernel", None) is None:
        return None
    from IPython.display import display  # type: ignore[import-not-found,unused-ignore]

    return display  # type: ignore[no-any-return,unused-ignore]


def _rich() -> Any:
    try:
        import rich.console
        import rich.progress_bar
        import rich.table
        import rich.text
    except ImportError:
        return None
    return rich


def _styled(rich: Any, call: CallState, query: QueryState, width: int) -> str:
    texts = line.parts(call, query)
    found = rich.text.Text(no_wrap=True, overflow="ellipsis")
    found.append(line.head(call, query), "bold")
    found.append("  ")
    if call.share is not None and not query.ended:
        done = round(_BAR_CHARS * call.share)
        found.append("━" * done, "cyan")
        found.append("━" * (_BAR_CHARS - done), "bright_black")
        found.append(" ")
    for at, text in enumerate(texts):
        red = text.endswith(" failed") or text.startswith("failed")
        found.append((" · " if at else "") + text, "red" if red else "bold" if text.startswith("ETA") else "")
    found.truncate(width, overflow="ellipsis")
    console = rich.console.Console(
        force_terminal=True, width=width + 1, color_system="standard", legacy_windows=False
    )
    with console.capture() as said:
        console.print(found, end="", soft_wrap=True, highlight=False)
    return str(said.get())


def _write(stream: IO[str], text: str) -> None:
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError):
        pass  # the terminal is gone, or the stream closed at the interpreter's end: nobody reads
