"""How long rows were, from run to run."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_llm.jenga.lengths import FILE, LEAST_ROWS, MOST_MODELS, MOST_ROWS, RowLengths, rounded
from spark_llm.jenga.waste import Length


@given(st.integers(1, 1 << 20))
def test_tokens_are_rounded_up_by_an_eighth_at_most(tokens):
    assert tokens <= rounded(tokens) < tokens + max(16, tokens / 8 + 1)
    assert rounded(rounded(tokens)) == rounded(tokens)


def test_the_next_run_knows_them(tmp_path):
    run = RowLengths(tmp_path / "new", "model")
    for _ in range(LEAST_ROWS):
        run.add(100)
    run.add(1000)
    assert run.known() == []
    run.save()
    assert RowLengths(tmp_path / "new", "model").known() == [
        Length(112, requests=LEAST_ROWS),
        Length(1024, requests=1),
    ]
    assert RowLengths(tmp_path / "new", "other").known() == []


def test_two_engines_add_up_and_old_rows_fade(tmp_path):
    one, other = RowLengths(tmp_path, "model"), RowLengths(tmp_path, "model")
    for _ in range(MOST_ROWS):
        one.add(16)
        other.add(32)
    one.save()
    other.save()
    other.save()
    assert other.known() == [Length(16, requests=MOST_ROWS // 2), Length(32, requests=MOST_ROWS // 2)]


def test_models_that_were_not_seen_for_longest_go(tmp_path):
    for number in range(MOST_MODELS + 3):
        model = RowLengths(tmp_path, str(number % (MOST_MODELS + 2)))
        model.add(16)
        model.save()
    kept = json.loads((tmp_path / FILE).read_text())["models"]
    assert len(kept) == MOST_MODELS
    assert "0" in kept
    assert "1" not in kept


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"version": 2, "models": {}}', '{"version": 1, "models": {"model": {"x": 1}}}',
             '{"version": 1, "models": {"model": [1]}}', '{"version": 1}']
)  # fmt: skip
def test_a_file_that_is_none_is_empty_and_is_replaced(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    run = RowLengths(tmp_path, "model")
    assert run.known() == []
    for _ in range(LEAST_ROWS):
        run.add(16)
    run.save()
    assert run.known() == [Length(16, requests=LEAST_ROWS)]
