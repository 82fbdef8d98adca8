import re

import pyarrow as pa
import pytest
from page_reader import PageReader

from spark_llm.analyze.icicle import fitted, wrapped
from spark_llm.analyze.markup import el, page
from spark_llm.analyze.numbers import percent, short


def read(path):
    reader = PageReader()
    reader.feed(path.read_text(encoding="utf-8"))
    reader.close()
    assert reader.open == []
    return reader


EVIL = '<script>alert("x")</script><img src=http://e.vil/x> & \x00\ud800 ]]> --> </style></svg>'


def test_values_never_become_markup(analyze, tmp_path):
    table = pa.table(
        {EVIL.replace("\ud800", ""): [EVIL.replace("\ud800", "")] * 3 + ["b"] * 3, "y": ["c"] * 6}
    )
    assert analyze(table, "--html", tmp_path / "r.html", "--instruction", EVIL)[0] == 0
    reader = read(tmp_path / "r.html")
    assert not set(reader.tags) & {"script", "img", "iframe", "link", "a", "object"}
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "\x00" not in text
    assert "<script" not in text
    assert any("alert(" in words for words in reader.texts)


def test_the_page_needs_nothing_from_outside(analyze, films, tmp_path):
    assert analyze(films, "--html", tmp_path / "r.html")[0] == 0
    reader = read(tmp_path / "r.html")
    assert not {name for name, _ in reader.attributes} & {"src", "href", "xlink:href", "onclick", "onload"}
    css = "".join(reader.texts)
    assert "@import" not in css
    assert "url(" not in css
    assert "prefers-color-scheme: dark" in css
    assert "@media print" in css


def test_each_picture_has_its_figures_as_a_table(analyze, films, tmp_path):
    assert analyze(films, "--html", tmp_path / "r.html")[0] == 0
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    captions = re.findall("<caption>(.*?)</caption>", text)
    assert captions[:2] == ["Prompt tokens per order", "Levels of both trees"]
    assert text.count('class="icicle"') == 2
    assert text.index('class="icicle"') < text.index("Levels of both trees")


def test_long_values_and_many_fields_stay_inside(analyze, tmp_path):
    table = pa.table(
        {f"{'very_long_name_' * 6}{at}": [f"{'W' * 300}{row % 3}" for row in range(9)] for at in range(72)}
    )
    assert analyze(table, "--html", tmp_path / "r.html")[0] == 0
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "… 63 more fields" in text
    for width, body in re.findall(
        r'<svg role="img" class="icicle" viewBox="0 0 (\d+) [\d.]+">(.*?)</svg></div>', text, re.DOTALL
    ):
        for x, w in re.findall(r'<(?:rect|svg) x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', body):
            assert float(x) + float(w) <= float(width) + 0.5


@pytest.mark.parametrize(
    ("text", "room", "shown"),
    [("Alien", 100, "Alien"), ("Alien vs. Predator", 64, "Alien vs…"), ("Alien", 12, ""), ("日本語のタイトル", 70, "日本語の…"), ("… 1,234 more", 40, "")],
)  # fmt: skip
def test_labels_are_cut_to_their_room(text, room, shown):
    assert fitted(text, room) == shown


def test_labels_wrap_where_there_is_height():
    assert wrapped("one two three four", 60, 2) == ["one two", "three fo…"]
    assert wrapped("one two three four", 60, 1) == ["one two…"]
    assert wrapped("… 12 more", 20, 5) == []
    assert wrapped("", 60, 3) == []


def test_elements_keep_texts_in_order():
    assert page(el("p", "a < ", el("b", "&"), " c", None, class_="x", data_n=1.50)).splitlines()[1] == (
        '<p class="x" data-n="1.5">a &lt; <b>&amp;</b> c</p>'
    )


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0 %"), (0.0004, "< 0.1 %"), (0.0123, "1.2 %"), (0.37, "37 %"), (0.9999, "99.9 %"), (1, "100 %")],
)
def test_percentages(share, text):
    assert percent(share) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (9_999, "9,999"), (36_400, "36 k"), (3_590_096, "3.59 M")]
)
def test_counts(count, text):
    assert short(count) == text
