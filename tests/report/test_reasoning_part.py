"""The part of the report about a call's thinking."""

import json

from report_helpers import call, run

from spark_llm.report.html import html_report
from spark_llm.report.read import parse_run

FOUND = {
    "policy": "cascade", "choice": "per_row", "reason": "per row: signals tell rows apart", "gain": 0.3,
    "low": 0.2, "high": 0.4, "rows": 50, "extra_tokens": 26.0,
    "router": {"quality": {"auc": 0.9, "ece_before": 0.2, "ece_after": 0.04, "ece_chance": 0.03,
                           "plot": [[0.1, 0.05, 0.6], [0.9, 0.95, 0.4]]}},
}  # fmt: skip


def page(found, **metrics):
    one = {**call(1, **metrics), "reasoning": None if found is None else json.dumps(found)}
    return html_report(parse_run({**run(), "calls": [one]}))


def test_figures_pilot_and_calibration():
    text = page(FOUND, thinkingTokens=3000, questions=400, reasonedRows=120, cutRows=2)
    assert "120 of 400 questions answered with reasoning" in text
    assert "2 had their thinking cut off" in text
    assert "gain +30.0 points (+20.0 to +40.0)" in text
    assert text.count("<circle") >= 2
    assert "ECE 0.200 before, 0.040 after" in text


def test_two_models():
    one = {**call(1, questions=400, costlyRows=90, generatedTokens=5000, costlyTokens=2000)}
    one |= {"reasoning": json.dumps(FOUND), "models": ["small", "large"]}
    text = html_report(parse_run({**run(), "calls": [one]}))
    assert "90 of 400 questions answered by large; small has generated 3,000 tokens, large 2,000" in text
    assert "with reasoning" not in text


def test_a_call_that_does_not_think_has_none():
    assert "Reasoning" not in page(None)
    assert "thought unasked" in page(None, thinkingTokens=10, questions=5, unaskedRows=5)
