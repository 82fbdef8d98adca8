"""Drawing: what reaches the stream, in a terminal, in a notebook and where there is neither."""

import io
import re

import pytest
from progress_helpers import call, snapshot

from spark_llm.progress import paint
from spark_llm.progress.model import Model
from spark_llm.progress.screen import Screen


def queries(*snapshots):
    model = Model()
    return [model.update(each)[0] for each in snapshots]


def at(rows, seconds, **more):
    return snapshot(seconds, call(rows=rows, prompt=10 * rows, expected=100), **more)


def test_a_line_when_it_is_time_or_enough_is_done():
    now = [0.0]
    out = io.StringIO()
    lines = paint.Lines(out, lambda: now[0])
    for seconds, rows in ((1, 1), (2, 6), (3, 7), (12, 8), (13, 9), (30, 10)):
        now[0] = seconds
        lines.draw(*queries(at(rows, seconds)))
    assert re.findall(r"(\d+)/100", out.getvalue()) == ["6", "8", "10"]
    lines.end(*queries(at(100, 31, ended_s=31)))
    assert out.getvalue().splitlines()[-1].endswith("done in 0:31")


def test_lines_beside_sparks_own_bar_erase_it_first():
    out = io.StringIO()
    paint.Lines(out, lambda: 0.0, erase=True).end(*queries(at(1, 1, ended_s=1)))
    assert out.getvalue().startswith("\r\x1b[K")


@pytest.mark.parametrize("rich", [True, False])
def test_the_terminals_line_never_wraps_and_is_redrawn_in_place(monkeypatch, rich):
    if not rich:
        monkeypatch.setattr(paint, "_rich", lambda: None)
    elif paint._rich() is None:
        pytest.skip("rich is not installed")
    out = io.StringIO()
    terminal = paint.Terminal(out, columns=lambda: 50)
    first, second = queries(at(10, 10), at(50, 20))
    terminal.draw(first)
    terminal.draw(second)
    text = out.getvalue()
    assert "\n" not in text
    assert text.count("\r\x1b[K") == 2
    for drawn in text.split("\r\x1b[K")[1:]:
        assert len(re.sub(r"\x1b\[[0-9;]*m", "", drawn)) <= 49
    terminal.end(*queries(at(100, 31, ended_s=31)), note="report: x.html")
    assert out.getvalue().endswith("report: x.html\n")


def test_a_notebook_updates_one_output():
    shown = []

    class Handle:
        def update(self, data, raw):
            shown.append(data["text/plain"])

    def display(data, raw, display_id):
        assert display_id
        shown.append(data["text/plain"])
        return Handle()

    notebook = paint.Notebook(display)
    for query in queries(at(10, 10), at(50, 20)):
        notebook.draw(query)
    assert [re.search(r"\d+ %", text)[0] for text in shown] == ["10 %", "50 %"]


class Recorder:
    def __init__(self):
        self.drawn = []

    def draw(self, query):
        self.drawn.append(query.calls[0].answered_rows)

    def end(self, query, note=""):
        self.drawn.append("end")


def test_short_queries_and_ended_ones_are_not_drawn():
    made = []

    def painter(query):
        made.append(Recorder())
        return made[-1]

    screen = Screen(painter)
    assert screen.show(at(1, 0.5))
    assert not screen.show(at(1, 0.7, ended_s=0.6))
    assert made == []
    assert screen.show(at(1, 2, number=8))
    screen.show(at(2, 3, number=8))
    screen.show(at(9, 4, number=8, ended_s=4))
    screen.show(at(9, 5, number=8, ended_s=4))
    assert [each.drawn for each in made] == [[1, 2, "end"]]


def test_a_query_that_wants_no_line_gets_none():
    screen = Screen(lambda query: None)
    assert screen.show(at(1, 5))
    assert not screen.show(at(9, 6, ended_s=6))


def test_a_stream_that_has_gone_is_no_error():
    out = io.StringIO()
    out.close()
    paint.Lines(out, lambda: 0.0).end(*queries(at(1, 1, ended_s=1)))
