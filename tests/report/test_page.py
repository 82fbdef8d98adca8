"""The page: nothing from outside, nothing unescaped, every picture with its figures, and what it says."""

import json

import pytest
from page_reader import PageReader
from report_helpers import EVIL, call, run, whole_run

from spark_llm.cli import main
from spark_llm.errors import SparkLLMError
from spark_llm.report.html import html_report
from spark_llm.report.read import parse_run


def read(data):
    text = html_report(parse_run(data))
    reader = PageReader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return text, reader


def test_values_never_become_markup():
    evil = call(
        text=EVIL,
        errors=[(EVIL, EVIL, 3)],
        failedRows=3,
        levels=[{"fields": {EVIL: 3}, "requests": 3, "prefixes": 1, "tokens": 9, "reused_tokens": 1}],
        picture=json.dumps(
            {
                "prompt_tokens": 9,
                "levels": [
                    {
                        "name": EVIL,
                        "mixed": True,
                        "tokens": 9,
                        "reused_tokens": 1,
                        "nodes": [[0, 1, EVIL, 1, 3, 9, 1]],
                    }
                ],
            }
        ),
        conditions={EVIL: 3},
    )
    evil |= {"model": EVIL, "order": [EVIL], "order_source": EVIL, "site": EVIL, "engine": EVIL}
    more = {"application": EVIL, "application_id": EVIL, "explain": EVIL, "spark": EVIL, "budget": EVIL}
    text, reader = read(run(evil, failed=True, condition=EVIL, **more))
    assert not set(reader.tags) & {"script", "img", "iframe", "link", "a", "object"}
    assert "\x00" not in text
    assert "<script" not in text
    assert not [name for name, _ in reader.attributes if name.startswith("on")]
    assert sum("alert(" in words for words in reader.texts) >= 10


def test_the_page_needs_nothing_from_outside():
    text, reader = read(whole_run())
    assert not [value for name, value in reader.attributes if name in {"src", "href", "action"}]
    assert "@import" not in text
    assert "url(" not in text
    assert "script" not in reader.tags


def test_each_picture_has_its_figures_as_a_table():
    _, reader = read(whole_run())
    pictures = [
        value
        for name, value in reader.attributes
        if name == "class" and value in {"funnel", "icicle", "strips"}
    ]
    assert sorted(pictures) == ["funnel", "funnel", "icicle", "icicle", "strips"]
    assert reader.tags.count("table") >= len(pictures) + 1


def test_what_it_says_about_a_query_that_failed():
    _, reader = read(
        run(call(failedRows=2, conditions={"LLM_OUTPUT_INVALID": 2}), failed=True, condition="LLM_X")
    )
    said = " ".join(reader.texts)
    assert "The query failed after 1:00: LLM_X." in said
    assert "2 rows failed" in said


def test_messages_that_are_not_to_be_shown_are_replaced_by_what_the_condition_means():
    _, reader = read(run(call(failedRows=2, conditions={"LLM_PROMPT_TOO_LONG": 2})))
    said = " ".join(reader.texts)
    assert "shown with spark.llm.logPrompts.enabled" in said
    assert "LLM_PROMPT_TOO_LONG" in reader.texts
    assert SparkLLMError("LLM_PROMPT_TOO_LONG").message in reader.texts


def test_a_query_that_asked_nothing_has_a_page_too():
    nothing = call(rows=0, requests=0, prompt=0, cached=0, generated=0, rows_read=None, levels=[], windows=0)
    nothing["profile"]["tree"] = None
    _, reader = read(run(nothing, seconds=0))
    assert "Nothing was asked, so there are no prefixes." in reader.texts
    assert "The query was over before a second reading." in reader.texts


def test_the_command_writes_the_page_and_says_where(tmp_path, capsys):
    data = tmp_path / "llm-app-3.json"
    data.write_text(json.dumps(whole_run()))
    assert main(["report", str(data)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "llm-app-3.html")
    assert (tmp_path / "llm-app-3.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("text", "said"),
    [("no json", "Expecting value"), ("{}", "no data of a run report"), ('{"version": 9}', "version 9")],
)
def test_what_is_no_data_is_refused_with_a_reason(tmp_path, capsys, text, said):
    data = tmp_path / "x.json"
    data.write_text(text)
    assert main(["report", str(data)]) == 1
    assert said in capsys.readouterr().err
    assert main(["report", str(tmp_path / "gone.json")]) == 1
