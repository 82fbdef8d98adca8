import pytest
from progress_helpers import call, snapshot

from spark_llm.progress import line
from spark_llm.progress.model import Model


def told(*snapshots):
    model = Model()
    for each in snapshots:
        (query,) = model.update(each)
    return line.line(line.shown_call(query), query)


def half(**more):
    conf = {"spark.llm.budget": "5Mtok"} if more.pop("budget", False) else {}
    second = call(2, follows=1)
    return (
        snapshot(0, call(expected=388_000), second, conf=conf),
        snapshot(
            30,
            call(rows=168_000, prompt=600_000, cached=384_000, generated=42_000, expected=388_000, **more),
            second,
            conf=conf,
        ),
    )


def test_the_line_of_the_documentation():
    assert told(*half(failedRows=12, budget=True)) == (
        "call 1/2  43 % · 168k/388k prompts · 21.4k tok/s · hit 64 % · 12 failed · ETA 0:39 · 0.6/5.0 Mtok"
    )


def test_only_what_is_known_is_said():
    assert told(snapshot(5, call(rows=168_000))) == "call 1/1  168k prompts"
    assert told(snapshot(5, call(rows=0, expected=100, exact=False))) == "call 1/1  0 % · 0/~100 prompts"


def test_counters_of_cache_retries_and_budget():
    assert " · 30.0k from cache · 3 retries · 7 over budget" in told(
        *half(cachedRows=30_000, retries=3, overBudgetRows=7)
    )


def test_100_percent_is_said_when_all_is_done():
    nearly = told(snapshot(5, call(rows=999, expected=1000)))
    assert "99 %" in nearly
    done = told(snapshot(99, call(rows=1000, prompt=5000, generated=50), ended_s=61))
    assert done == "call 1/1  100 % · 1.0k prompts · 5.0k tok · hit 0 % · done in 1:01"
    assert told(snapshot(99, call(rows=10), ended_s=61, failed=True)).endswith("failed after 1:01")


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.0k"),
        (21_400, "21.4k"),
        (168_000, "168k"),
        (999_960, "1.00M"),
        (5e9, "5.00G"),
    ],
)
def test_short_numbers(count, text):
    assert line.short(count) == text


def test_budgets():
    prices = {"spark.llm.price.prompt": "2", "spark.llm.price.cached": "0.5", "spark.llm.price.answer": "10"}
    spent = {}
    for text in ("20usd", "30min", "90s", "800ktok", "5000tok", "nonsense"):
        (query,) = Model().update(
            snapshot(
                240,
                call(rows=1, prompt=1_000_000, cached=400_000, generated=100_000),
                conf={"spark.llm.budget": text, **prices},
            )
        )
        spent[text] = line.spent(query)
    assert spent == {
        "20usd": "2.40/20.00 usd",
        "30min": "4/30 min",
        "90s": "240/90 s",
        "800ktok": "1100.0/800.0 ktok",
        "5000tok": "1,100,000/5,000 tok",
        "nonsense": None,
    }
